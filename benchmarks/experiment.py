"""One run of the paper's experiment: train, evaluate, keep, and go on after a kill."""

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_metric_learning.utils import logging_presets
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import MultiStepLR

from pml_gpw.backbones import backbone, embedding_head
from pml_gpw.datasets import ImageDataset
from pml_gpw.distributed import distributed_dataset_recall
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.training import Checkpoints, processes
from pml_gpw.training.file_errors import reading_file

from .contenders import CONTENDERS
from .faults import FRESH
from .files import write_atomically
from .presets import Experiment
from .summaries import device_name, environment
from .trainer import Trainer, epoch_seed

RESULT = "result.json"
Report = Callable[[Trainer], object]
History = list[dict[str, float]]
_NO_LOGS: tuple[Any, Any] = (None, None)
Parts = dict[str, dict[str, Any]]
"""Models, optimizers, schedules, loss and miner by PML's names: all that a checkpoint holds."""


class Data(NamedTuple):
    """Training images; what is searched for, and in what (None: in itself)."""

    train: ImageDataset
    queries: ImageDataset
    references: ImageDataset | None

    def ks(self) -> tuple[int, ...]:
        """The data set's K, without those that a smaller set does not have."""
        most = len(self.queries) - 1 if self.references is None else len(self.references)
        return tuple(k for k in self.queries.ks if k <= most)


class Place(NamedTuple):
    """Where a run lies and computes: nothing that its result depends on."""

    folder: Path
    weights: str | None
    device: torch.device
    backend: str
    workers: int


def run(experiment: Experiment, data: Data, place: Place, report: Report) -> dict[str, Any]:
    """Train and evaluate, from the last checkpoint if there is one; the result, also as a file.

    An epoch begins with random numbers seeded by (seed, epoch), a new sampler and a new loader,
    and ends with an evaluation and a checkpoint. So a run that was killed at any moment goes on
    at its last checkpoint to the same weights, bit for bit where the device is deterministic.
    ``report`` is called after each iteration. Of several processes the first alone writes.
    """
    checkpoints = Checkpoints(place.folder, advice=FRESH)
    _seed(epoch_seed(experiment.seed, 0))
    parts = _parts(experiment, place)
    history: History = []
    state = processes.read_by_first(checkpoints.load)
    if state is not None:
        with reading_file(checkpoints.folder, FRESH):
            history = _put_back(state, parts)
        del state
    keeper, tensorboard = _logs(place.folder) if processes.is_first() else _NO_LOGS
    trainer = _trainer(experiment, data, place, parts, keeper, report)
    for epoch in range(len(history) + 1, experiment.epochs + 1):
        _seed(epoch_seed(experiment.seed, epoch))
        with _tf32(experiment.tf32), warnings.catch_warnings():
            # PML formats its loss for a progress bar without detaching it.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")
            trainer.train_epoch(epoch)
        with _tf32(experiment.tf32):
            recalls = _recalls(parts["models"], data, place)
        iteration = trainer.get_global_iteration() + 1
        history.append({"epoch": epoch, "iteration": iteration, **recalls})
        if processes.is_first():
            records = {"recall": history[-1], "throughput": trainer.throughput()}
            keeper.update_records(records, epoch)
            keeper.save_records()
            tensorboard.flush()
            is_best = _best(history)["epoch"] == epoch
            best = _states(parts)["models"] if is_best else None
            checkpoints.save(epoch, {"history": history, **_states(parts)}, best)
    if processes.is_first():
        tensorboard.close()
        _finish(experiment, parts, history, place)
    return processes.from_first(finished(place.folder) or {})


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a run that is finished."""
    path = folder / RESULT
    return read_result(path) if path.exists() else None


def read_result(path: Path) -> dict[str, Any]:
    """A result, or the fault that it is none."""
    with reading_file(path, f"{FRESH}, or remove the folder of the run"):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        names = content["experiment"].keys() | content.keys()
        recalls = [row["recall_at_1"] for row in (content["last"], content["best"])]
        if not names >= {"milestones", "seed", "history", "environment"}:
            raise ValueError(f"not all there: {sorted(names)}")
        if not all(0 <= recall <= 1 for recall in recalls):
            raise ValueError(f"no recalls: {recalls}")
    return content


def _put_back(state: Parts, parts: Parts) -> History:
    """Bring the parts to the state of a checkpoint; its history."""
    history: Any = state.pop("history")
    epochs = [row["epoch"] for row in history]
    if state.keys() != parts.keys() or epochs != [*range(1, len(epochs) + 1)] or not epochs:
        raise ValueError(f"the state of something else: {sorted(state)}")
    for kind, items in parts.items():
        for name, item in items.items():
            item.load_state_dict(state[kind][name])
    rows: History = history
    return rows


def _parts(experiment: Experiment, place: Place) -> Parts:
    trunk = backbone(
        experiment.backbone,
        pooling=experiment.pooling,
        weights=place.weights,
        frozen_batch_norm=experiment.frozen_batch_norm,
    )
    trunk = trunk.to(memory_format=torch.channels_last)
    models = {"trunk": trunk, "embedder": embedding_head(trunk.features, experiment.dims)}
    models = {name: model.to(place.device) for name, model in models.items()}
    optimizers = {
        name: Adam(
            model.parameters(), experiment.learning_rate, weight_decay=experiment.weight_decay
        )
        for name, model in models.items()
    }
    schedules = {name: MultiStepLR(o, experiment.milestones) for name, o in optimizers.items()}
    miner, loss = CONTENDERS[experiment.loss](**experiment.hyperparameters)
    if experiment.memory:
        miner, loss = None, CrossBatchMemory(loss, experiment.dims, experiment.memory, miner)
    return {
        "models": models,
        "optimizers": {f"{name}_optimizer": o for name, o in optimizers.items()},
        "lr_schedulers": {f"{name}_scheduler_by_iteration": s for name, s in schedules.items()},
        "loss_funcs": {"metric_loss": loss.to(place.device)},
        "mining_funcs": {} if miner is None else {"tuple_miner": miner},
    }


def _logs(folder: Path) -> tuple[Any, Any]:
    """record-keeper, to CSV, SQLite and TensorBoard, and the last's writer."""
    keeper, _, tensorboard = logging_presets.get_record_keeper(
        str(folder / "logs"), str(folder / "tensorboard")
    )
    return keeper, tensorboard


def _trainer(
    experiment: Experiment, data: Data, place: Place, parts: Parts, keeper: Any, report: Report
) -> Trainer:
    """PML's trainer of the parts, over all processes."""
    hooks = logging_presets.HookContainer(keeper)

    def end_of_iteration(trainer: Trainer) -> None:
        if processes.is_first():
            hooks.end_of_iteration_hook(trainer)
        report(trainer)

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
        place.workers,
        **{**parts, **together},
        dataset=data.train,
        data_device=place.device,
        end_of_iteration_hook=end_of_iteration,
    )


def _recalls(models: dict[str, nn.Module], data: Data, place: Place) -> dict[str, float]:
    """Recall@K in the protocol of the data set, each process embedding its share of the images."""
    found = distributed_dataset_recall(
        nn.Sequential(models["trunk"], models["embedder"]),
        data.queries,
        data.references,
        ks=data.ks(),
        backend=place.backend,
        batch_size=128,
        workers=place.workers,
    )
    return {f"recall_at_{k}": value for k, value in found.items()}


def _states(parts: Parts) -> dict[str, dict[str, Any]]:
    """All that an epoch takes over from those before it. Random numbers are seeded by epoch."""
    return {
        kind: {name: item.state_dict() for name, item in items.items()}
        for kind, items in parts.items()
    }


def _best(history: History) -> dict[str, float]:
    """The epoch of the highest Recall@1, the first of equal ones."""
    return max(history, key=lambda row: (row["recall_at_1"], -row["epoch"]))


def _finish(experiment: Experiment, parts: Parts, history: History, place: Place) -> None:
    """Keep the weights of the last and the best epoch and the result, in this order."""
    folder = place.folder
    checkpoints = Checkpoints(folder)
    last, best = _states(parts)["models"], checkpoints.best_weights()
    write_atomically(folder / "last.pt", lambda path: torch.save(last, path))
    write_atomically(folder / "best.pt", lambda path: shutil.copyfile(best, path))
    result = {
        "experiment": {**experiment.settings(), "seed": experiment.seed},
        "last": history[-1],
        "best": _best(history),
        "history": history,
        "environment": f"{environment('torchvision', 'pillow')}; {_machine(place.device)}",
    }
    text = json.dumps(result, indent=1)
    write_atomically(folder / RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    checkpoints.clear()


def _machine(device: torch.device) -> str:
    count = processes.world_size()
    return f"{device_name(device)}, {count} process{'es' * (count > 1)}"


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Whether products and convolutions on a GPU may round to TF32; as it was, afterwards."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def _seed(seed: int) -> None:
    """Seed everything; models of different processes draw other numbers."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # users' data sets may draw from the global generator
    torch.manual_seed(seed + processes.rank())
