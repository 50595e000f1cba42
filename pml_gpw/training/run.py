"""One training from its settings to its result, which a kill at any moment does not change."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from .. import checks
from ..distributed import distributed_dataset_metrics
from ..evaluation.measures import columns_of
from ..evaluation.model_recall import checked_size, collate
from ..evaluation.options import Options, check_ks_within, checked_device
from . import processes
from .checkpoints import TRAIN_AGAIN, Checkpoints
from .environment import device_name, environment
from .experiment import Experiment
from .file_errors import reading_file
from .files import write_atomically
from .identity import describe, parameters, refuse_another
from .records import Records
from .results import RESULT, as_json, finished
from .trainer import Trainer, tf32

KS = (1, 2, 4, 8)
OnIteration = Callable[[Trainer], object]
History = list[dict[str, float]]
Parts = dict[str, dict[str, Any]]
"""Models, optimizers, schedules, loss and miner by PML's names: all that a checkpoint holds."""


def train_and_evaluate(
    experiment: Experiment,
    model: nn.Module | Mapping[str, nn.Module],
    loss: nn.Module,
    train: Any,
    test: Any,
    *,
    miner: nn.Module | None = None,
    references: Any = None,
    ks: Iterable[int] | None = None,
    folder: str | Path | None = None,
    device: str | torch.device | None = None,
    workers: int = 0,
    random_views: bool = True,
    primary_metric: str = "recall_at_1",
    backend: str = "auto",
    on_iteration: OnIteration | None = None,
    advice: str = TRAIN_AGAIN,
) -> dict[str, Any]:
    """Train a model and evaluate it on other classes; with a folder, go on where a kill left it.

    Each epoch of the :class:`Trainer` begins with seeded random numbers and, with a ``folder``,
    ends with a checkpoint. If a training is killed at any moment, the same call goes on at the last
    checkpoint and ends in the same weights, bit for bit where the device is deterministic. A
    finished training is not repeated: its result is read, and the model gets its last weights; the
    parameters of the loss do not. Without a folder nothing is written. Arguments that an evaluation
    would refuse are errors before the first step, and the state is saved before the first
    evaluation.

    Started by ``torchrun``, all processes train and evaluate together: up to rounding, the result
    is that of one process. The first alone writes.

    The global random numbers are seeded. The initial weights are those of the model that you pass:
    call ``torch.manual_seed`` before you make it.

    Args:
        experiment: the settings.
        model: maps images (B, …) to embeddings (B, D); or its parts by PML's names, "trunk" and
            "embedder". It is trained in place, on ``device``.
        loss: a loss of this package, or of PML where it is there; its parameters are trained too.
        train: a data set of (image, integer label), with all labels as attribute ``labels``. The
            images may be other items that torch's ``DataLoader`` makes batches of, such as texts.
        test: a data set of queries, of other classes.
        miner: a miner of this package or of PML.
        references: a data set to search in; without it, the queries are searched in.
        ks: the K of Recall@K; by default ``test.ks``, or 1, 2, 4 and 8, as far as there are that
            many references.
        folder: where ``checkpoints/`` are kept, the logs of record-keeper (``logs/`` with
            CSV and SQLite, ``tensorboard/``), and at the end ``result.json``, ``last.pt`` and
            ``best.pt``, the weights of the last and the best evaluation. A folder that holds a
            training of other settings, labels, hyper-parameters of loss or miner, shapes of
            parameters, ``ks`` or ``primary_metric`` is refused. Other parts of the model, and what
            transforms do to images, are not compared.
        device: where to compute; a GPU where there is one, else the CPU.
        workers: processes that load images, per process.
        random_views: as of :class:`Trainer`.
        primary_metric: the metric by which an evaluation is the best. It is chosen on ``test``.
        backend: the search: "auto", "torch" or "faiss".
        on_iteration: called with the trainer after each step.
        advice: the advice that the error of a damaged file ends with.

    Returns:
        ``experiment``, the settings; ``loss_func`` and ``mining_func``, the hyper-parameters of
        loss and miner; ``data`` and ``parameters``, by which other data and models are noticed;
        ``ks`` and ``primary_metric``; ``history``, a row for each
        evaluation with epoch, iteration, ``recall_at_K`` for each K, ``r_precision`` and
        ``map_at_r``; of these ``last`` and ``best``; ``environment``, the versions and the machine.
        All as in ``result.json``, where null stands for NaN, the metric of queries without a
        relevant reference.

    Errors: ValueError for arguments that cannot be, for labels of ``train`` that are not those of
    its items as far as a sample of them shows, and for a folder of another training;
    :class:`FileError` for files that are damaged or cannot be written; ImportError where a folder
    is given and record-keeper or tensorboard is missing (``pip install "pml-gpw[training]"``).

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw import MSMiner, MSWeightedLoss
        >>> from pml_gpw.training import Experiment, train_and_evaluate
        >>> def clusters(seed):
        ...     labels = torch.arange(40) // 8
        ...     noise = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
        ...     data = TensorDataset(torch.eye(6)[labels] + 0.1 * noise, labels)
        ...     data.labels = labels
        ...     return data
        >>> _ = torch.manual_seed(0)
        >>> result = train_and_evaluate(
        ...     Experiment(iterations=20, batch=20, learning_rate=0.01),
        ...     torch.nn.Linear(6, 4),
        ...     MSWeightedLoss(),
        ...     clusters(seed=1),
        ...     clusters(seed=2),
        ...     miner=MSMiner(),
        ...     device="cpu",
        ... )
        >>> result["last"]["recall_at_1"] > 0.9
        True
    """
    checks.instance("experiment", experiment, Experiment)
    where = checked_device(device) or torch.device(processes.default_device())
    parts = _checked_parts(model, loss, miner)
    models = parts["models"]
    if not hasattr(train, "labels"):
        raise ValueError(f"train must have an attribute labels, one for each item, got {train!r}")
    options = _checked_options(test, references, ks, backend)
    checks.one_of("primary_metric", primary_metric, columns_of(options.metrics, options.ks))
    described = describe(experiment, loss, miner, (train, test, references)) | {
        "parameters": parameters([*models.values(), loss]),
        "ks": [*options.ks],
        "primary_metric": primary_metric,
    }
    checkpoints = None if folder is None else Checkpoints(folder, advice=advice)
    with processes.process_group(where):
        for module in (*models.values(), loss):
            module.to(where)
        result = None if checkpoints is None else _finished(checkpoints, described, models)
        if result is not None:
            return result
        _add_optimizers(parts, experiment)
        history, done = _resume(checkpoints, described, experiment, parts)
        trained = 0 if done is None else max(done, 1)
        hooks: list[OnIteration] = [] if on_iteration is None else [on_iteration]
        of_loader = {"workers": workers, "random_views": random_views, "data_device": where}
        trainer = _trainer(experiment, parts, train, hooks, of_loader)
        kept = checkpoints if processes.is_first() else None
        records = None if kept is None else Records(kept.run)
        if records is not None:
            hooks.insert(0, records.record_step)
        network = nn.Sequential(models["trunk"], models["embedder"])
        search = {"ks": options.ks, "backend": backend, "batch_size": 128, "workers": workers}

        def save(epoch: int) -> None:
            best, states = _best(history, primary_metric), _states(parts)
            is_best = best is None or best["epoch"] == epoch
            state = {**states, **described, "history": history, "epoch": epoch}
            if kept is not None:
                kept.save(epoch, state, states["models"] if is_best else None)

        for epoch, stop in [*enumerate(experiment.stops, start=1)][done:]:
            if epoch > trained:
                trainer.train_epoch(epoch)
                if records is not None:
                    records.record_epoch({"throughput": trainer.throughput()}, epoch)
            if epoch == 1 > trained:  # the first evaluation may fail
                save(0)
            if experiment.evaluates_at(stop):
                with tf32(experiment.tf32):
                    values = distributed_dataset_metrics(network, test, references, **search)
                history.append({"epoch": epoch, "iteration": stop, **values})
                if records is not None:
                    records.record_epoch({"evaluation": history[-1]}, epoch)
            save(epoch)
        count = processes.world_size()
        machine = f"{device_name(where)}, {count} process{'es' * (count > 1)}"
        result = {
            **described,
            "last": history[-1],
            "best": _best(history, primary_metric),
            "history": history,
            "environment": f"{environment('torchvision', 'pillow')}; {machine}",
        }
        if kept is not None and records is not None:
            records.tensorboard.close()
            _finish(kept, models, result)
        return processes.from_first(result)


def _checked_parts(model: Any, loss: Any, miner: Any) -> Parts:
    """Models, loss and miner by PML's names, or a ValueError."""
    models = dict(model) if isinstance(model, Mapping) else {"trunk": model}
    if "trunk" not in models or not {*models} <= {"trunk", "embedder"}:
        got = ", ".join(map(str, models)) or "none"
        raise ValueError(f"model must be a module, or the parts trunk and embedder, got {got}")
    for name, part in models.items():
        checks.instance(f"model[{name!r}]" if model is not part else "model", part, nn.Module)
    processes.check_loss_and_miner(loss, miner)
    return {
        "models": {"embedder": nn.Identity(), **models},
        "loss_funcs": {"metric_loss": loss},
        "mining_funcs": {} if miner is None else {"tuple_miner": miner},
    }


def _checked_options(test: Any, references: Any, ks: Iterable[int] | None, backend: str) -> Options:
    """The options of the evaluation, which is refused here if it would be after the steps.

    The K are those that are given, or those of the data set that are not more than its references.
    """
    most = 0
    for name, dataset in (("test", test), ("references", references)):
        if dataset is not None:
            most = checked_size(name, dataset) - (references is None)
            collate([dataset[0]])
    of_test = [k for k in getattr(test, "ks", KS) if k <= most]
    options = Options(of_test if ks is None else ks, backend)
    check_ks_within(options.ks, most)
    return options


def _add_optimizers(parts: Parts, experiment: Experiment) -> None:
    """Adam and its schedule for each part that has something to train.

    Weights decay in the model alone: a temperature or a margin has no reason to be small.
    """
    rates = dict.fromkeys(parts["models"], experiment.learning_rate)
    rates["metric_loss"] = experiment.loss_learning_rate or experiment.learning_rate
    parts["optimizers"], parts["lr_schedulers"] = {}, {}
    for name, module in {**parts["models"], **parts["loss_funcs"]}.items():
        parameters = [p for p in module.parameters() if p.requires_grad]
        if parameters:
            decay = experiment.weight_decay if name in parts["models"] else 0.0
            optimizer = Adam(parameters, rates[name], weight_decay=decay)
            schedule = MultiStepLR(optimizer, experiment.milestones)
            parts["optimizers"][f"{name}_optimizer"] = optimizer
            parts["lr_schedulers"][f"{name}_scheduler_by_iteration"] = schedule


def _finished(
    checkpoints: Checkpoints, described: dict[str, Any], models: dict[str, nn.Module]
) -> dict[str, Any] | None:
    """The result of a finished training, with whose last weights the model goes on, or None."""

    def read() -> Any:
        result, path = finished(checkpoints.run, checkpoints.advice), checkpoints.run / "last.pt"
        if result is None:
            return None, {}
        with reading_file(path, checkpoints.advice):
            return result, torch.load(path, map_location="cpu", weights_only=True)

    result, weights = processes.read_by_first(read)
    if result is not None:
        refuse_another(checkpoints.run, result, described)
        for name, module in models.items():
            module.load_state_dict(weights[name])
    return result


def _resume(
    checkpoints: Checkpoints | None,
    described: dict[str, Any],
    experiment: Experiment,
    parts: Parts,
) -> tuple[History, int | None]:
    """Bring the parts to the last checkpoint, if there is one; its history and epoch.

    Epoch 0 is that of a training whose first epoch has had its steps and no evaluation.
    """
    state = None if checkpoints is None else processes.read_by_first(checkpoints.load)
    if checkpoints is None or state is None:
        return [], None
    with reading_file(checkpoints.folder, checkpoints.advice):
        if state.keys() != {*parts, *described, "history", "epoch"}:
            raise ValueError(f"the state of something else: {sorted(state)}")
    refuse_another(checkpoints.run, state, described)
    with reading_file(checkpoints.folder, checkpoints.advice):
        history, done = state["history"], state["epoch"]
        stops = enumerate(experiment.stops[:done], start=1)
        evaluated = [epoch for epoch, stop in stops if experiment.evaluates_at(stop)]
        if [row["epoch"] for row in history] != evaluated:
            raise ValueError(f"evaluations of epochs {evaluated} expected, got {history}")
        for kind, items in parts.items():
            for name, item in items.items():
                item.load_state_dict(state[kind][name])
    return history, done


def _trainer(
    experiment: Experiment,
    parts: Parts,
    train: Any,
    hooks: list[OnIteration],
    options: dict[str, Any],
) -> Trainer:
    """The trainer of the parts, over all processes."""
    miner, loss = processes.loss_over_processes(
        parts["mining_funcs"].get("tuple_miner"), parts["loss_funcs"]["metric_loss"]
    )

    together = {
        "models": {name: processes.data_parallel(m) for name, m in parts["models"].items()},
        "loss_funcs": {"metric_loss": loss},
        "mining_funcs": {} if miner is None else {"tuple_miner": miner},
    }
    return Trainer(
        experiment,
        **{**parts, **together, **options},
        dataset=train,
        end_of_iteration_hook=lambda trainer: [hook(trainer) for hook in hooks],
    )


def _states(parts: Parts) -> dict[str, dict[str, Any]]:
    """All that an epoch takes over from those before it. Random numbers are seeded by epoch."""
    return {
        kind: {name: item.state_dict() for name, item in items.items()}
        for kind, items in parts.items()
    }


def _best(history: History, metric: str) -> dict[str, float] | None:
    """The evaluation of the highest metric, the first of equal ones; None before the first.

    NaN, where no query has a relevant reference, is below all.
    """
    return max(history, key=lambda row: (row[metric] >= 0, row[metric]), default=None)


def _finish(kept: Checkpoints, models: dict[str, nn.Module], result: dict[str, Any]) -> None:
    """Keep the weights of the last and the best evaluation and the result, in this order."""
    folder, text = kept.run, as_json(result)
    last = {name: model.state_dict() for name, model in models.items()}
    best = kept.best_weights()
    write_atomically(folder / "last.pt", lambda path: torch.save(last, path))
    write_atomically(folder / "best.pt", lambda path: shutil.copyfile(best, path))
    write_atomically(folder / RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    kept.clear()
