"""One training from its settings to its result, which a kill at any moment does not change."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from .. import checks
from ..distributed import distributed_dataset_metrics
from . import processes
from .checkpoints import TRAIN_AGAIN, Checkpoints
from .environment import device_name, environment
from .experiment import Experiment
from .file_errors import reading_file
from .files import write_atomically
from .identity import describe, refuse_another
from .records import Records
from .results import RESULT, finished
from .trainer import Trainer, tf32

KS = (1, 2, 4, 8)
OnIteration = Callable[[Trainer], object]
History = list[dict[str, float]]
Parts = dict[str, dict[str, Any]]
"""Models, optimizers, schedules, loss and miner by PML's names: all that a checkpoint holds."""


class Kept(NamedTuple):
    """The folder of a training, and the settings that it is one of."""

    folder: Path
    checkpoints: Checkpoints
    described: dict[str, Any]


class Evaluation(NamedTuple):
    """The queries and references of an evaluation, and the options of its search."""

    queries: Any
    references: Any
    ks: tuple[int, ...]
    backend: str
    workers: int


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

    Each epoch of the :class:`Trainer` begins with seeded random numbers and ends, in a ``folder``,
    with a checkpoint. So a training that was killed at any moment goes on at its last checkpoint
    to the same weights, bit for bit where the device is deterministic, when it is called again. A
    finished one is not trained again: its result is read. Without a folder nothing is written.

    Started by ``torchrun``, all processes train and evaluate together: up to rounding, the result
    is that of one process. The first alone writes.

    The global random numbers are seeded. The weights that the model begins with are the caller's:
    call ``torch.manual_seed`` before it is made.

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
        ks: the K of Recall@K; ``test.ks``, or 1, 2, 4, 8, where not given, without those that are
            more than the references.
        folder: where ``checkpoints/`` are kept, the logs of record-keeper (``logs/`` with
            CSV and SQLite, ``tensorboard/``), and at the end ``result.json``, ``last.pt`` and
            ``best.pt``, the weights of the last and the best evaluation. A folder that holds a
            training of other settings, labels, or hyper-parameters of loss or miner is refused.
            The model and what transforms do to images are not compared.
        device: where to compute; a GPU where there is one, else the CPU.
        workers: processes that load images, per process.
        random_views: as of :class:`Trainer`.
        primary_metric: the metric by which an evaluation is the best. It is chosen on ``test``.
        backend: the search: "auto", "torch" or "faiss".
        on_iteration: called with the trainer after each step.
        advice: what the error of a damaged file tells its reader to do.

    Returns:
        ``experiment``, the settings; ``loss_func`` and ``mining_func``, the hyper-parameters of
        loss and miner; ``data``, what tells other data; ``history``, a row for each
        evaluation with epoch, iteration, ``recall_at_K`` for each K, ``r_precision`` and
        ``map_at_r``; of these ``last`` and ``best``; ``environment``, the versions and the machine.
        All as in ``result.json``.

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
    where = torch.device(processes.default_device() if device is None else device)
    checks.instance("experiment", experiment, Experiment)
    parts = _checked_parts(model, loss, miner)
    if not hasattr(train, "labels"):
        raise ValueError(f"train must have an attribute labels, one for each item, got {train!r}")
    _check_batch(experiment, train)
    kept_ks = _checked_ks(test, references, ks)
    metrics = (*(f"recall_at_{k}" for k in kept_ks), "r_precision", "map_at_r")
    checks.one_of("primary_metric", primary_metric, metrics)
    evaluation = Evaluation(test, references, kept_ks, backend, workers)
    described = describe(experiment, loss, miner, (train, test, references))
    with processes.process_group(where):
        kept = None
        if folder is not None:
            kept = Kept(Path(folder), Checkpoints(folder, advice=advice), described)
            result = processes.read_by_first(lambda: finished(Path(folder), advice))
            if result is not None:
                refuse_another(kept.folder, result, kept.described)
                return result
        for module in (*parts["models"].values(), *parts["loss_funcs"].values()):
            module.to(where)
        _add_optimizers(parts, experiment)
        history, done = ([], 0) if kept is None else _resume(kept, experiment, parts)
        records = Records(kept.folder) if kept is not None and processes.is_first() else None
        options = {"workers": workers, "random_views": random_views, "data_device": where}
        hooks: list[OnIteration] = [] if records is None else [records.record_step]
        hooks += [] if on_iteration is None else [on_iteration]
        trainer = _trainer(experiment, parts, train, hooks, options)
        for epoch, stop in [*enumerate(experiment.stops, start=1)][done:]:
            trainer.train_epoch(epoch)
            if experiment.evaluates_at(stop):
                with tf32(experiment.tf32):
                    values = _metrics(parts["models"], evaluation)
                history.append({"epoch": epoch, "iteration": stop, **values})
            if kept is not None and records is not None:
                records.record_epoch(_figures(trainer, history), epoch)
                best = _best(history, primary_metric)
                _save(kept, parts, history, epoch, is_best=best is None or best["epoch"] == epoch)
        result = {
            **described,
            "last": history[-1],
            "best": _best(history, primary_metric),
            "history": history,
            "environment": f"{environment('torchvision', 'pillow')}; {_machine(where)}",
        }
        if kept is not None and records is not None:
            records.tensorboard.close()
            _finish(kept, parts["models"], result)
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


def _check_batch(experiment: Experiment, train: Any) -> None:
    """Refuse a batch of more classes than there are, in words of the experiment."""
    classes = len(torch.as_tensor(train.labels).unique())
    most = classes * experiment.per_class
    if experiment.batch > most:
        raise ValueError(
            f"batch of the experiment must be at most {most} ({classes} classes of train x "
            f"per_class {experiment.per_class}), got {experiment.batch}"
        )


def _checked_ks(test: Any, references: Any, ks: Iterable[int] | None) -> tuple[int, ...]:
    """The K that are given, or those of the data set that are not more than its references."""
    if ks is not None:
        return tuple(ks)
    most = len(test) - 1 if references is None else len(references)
    return tuple(k for k in getattr(test, "ks", KS) if k <= most)


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


def _resume(kept: Kept, experiment: Experiment, parts: Parts) -> tuple[History, int]:
    """Bring the parts to the last checkpoint, if there is one; its history and epoch."""
    state = processes.read_by_first(kept.checkpoints.load)
    if state is None:
        return [], 0
    with reading_file(kept.checkpoints.folder, kept.checkpoints.advice):
        if state.keys() != {*parts, *kept.described, "history", "epoch"}:
            raise ValueError(f"the state of something else: {sorted(state)}")
    refuse_another(kept.folder, state, kept.described)
    with reading_file(kept.checkpoints.folder, kept.checkpoints.advice):
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

    def end_of_iteration(trainer: Trainer) -> None:
        for hook in hooks:
            hook(trainer)

    together = {
        "models": {name: _over_processes(m) for name, m in parts["models"].items()},
        "loss_funcs": {"metric_loss": loss},
        "mining_funcs": {} if miner is None else {"tuple_miner": miner},
    }
    return Trainer(
        experiment,
        **{**parts, **together, **options},
        dataset=train,
        end_of_iteration_hook=end_of_iteration,
    )


def _over_processes(model: nn.Module) -> nn.Module:
    trained = any(parameter.requires_grad for parameter in model.parameters())
    return processes.data_parallel(model) if trained else model


def _metrics(models: dict[str, nn.Module], evaluation: Evaluation) -> dict[str, float]:
    """The metrics of the model, each process embedding its share of the images."""
    return distributed_dataset_metrics(
        nn.Sequential(models["trunk"], models["embedder"]),
        evaluation.queries,
        evaluation.references,
        ks=evaluation.ks,
        backend=evaluation.backend,
        batch_size=128,
        workers=evaluation.workers,
    )


def _figures(trainer: Trainer, history: History) -> dict[str, dict[str, float]]:
    """The speed of an epoch, and its evaluation if it has one, by tables of the logs."""
    figures = {"throughput": trainer.throughput()}
    if history and history[-1]["epoch"] == trainer.epoch:
        figures["evaluation"] = history[-1]
    return figures


def _save(kept: Kept, parts: Parts, history: History, epoch: int, is_best: bool) -> None:
    states = _states(parts)
    state = {**states, **kept.described, "history": history, "epoch": epoch}
    kept.checkpoints.save(epoch, state, states["models"] if is_best else None)


def _states(parts: Parts) -> dict[str, dict[str, Any]]:
    """All that an epoch takes over from those before it. Random numbers are seeded by epoch."""
    return {
        kind: {name: item.state_dict() for name, item in items.items()}
        for kind, items in parts.items()
    }


def _best(history: History, metric: str) -> dict[str, float] | None:
    """The evaluation of the highest metric, the first of equal ones; None before the first."""
    return max(history, key=lambda row: (row[metric], -row["epoch"]), default=None)


def _finish(kept: Kept, models: dict[str, nn.Module], result: dict[str, Any]) -> None:
    """Keep the weights of the last and the best evaluation and the result, in this order."""
    folder, text = kept.folder, json.dumps(result, indent=1)
    last = {name: model.state_dict() for name, model in models.items()}
    best = kept.checkpoints.best_weights()
    write_atomically(folder / "last.pt", lambda path: torch.save(last, path))
    write_atomically(folder / "best.pt", lambda path: shutil.copyfile(best, path))
    write_atomically(folder / RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    kept.checkpoints.clear()


def _machine(device: torch.device) -> str:
    count = processes.world_size()
    return f"{device_name(device)}, {count} process{'es' * (count > 1)}"
