"""One run of the paper's experiment: train, evaluate, keep, and go on after a kill."""

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils import logging_presets
from torch import nn

from pml_gpw.backbones import backbone, embedding_head
from pml_gpw.datasets import ImageDataset
from pml_gpw.evaluation import RecallCalculator
from pml_gpw.losses import CrossBatchMemory

from .checkpoints import Checkpoints
from .contenders import CONTENDERS, MinerAndLoss
from .files import write_atomically
from .presets import Experiment
from .summaries import environment
from .trainer import Trainer

RESULT = "result.json"
Report = Callable[[Trainer], object]


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
    """Where a run lies and computes; none of it changes the result on one kind of machine."""

    folder: Path
    weights: str | None
    device: torch.device
    backend: str


def run(experiment: Experiment, data: Data, place: Place, report: Report) -> dict[str, Any]:
    """Train and evaluate, from the last checkpoint if there is one; the result, also as a file.

    An epoch begins with random numbers seeded by (seed, epoch), a new sampler and a new loader,
    and ends with an evaluation and a checkpoint. So a run that was killed at any moment goes on
    at its last checkpoint to the same weights, bit for bit where the device is deterministic.
    ``report`` is called after each iteration.
    """
    checkpoints = Checkpoints(place.folder)
    _seed((experiment.seed, 0))
    models = _models(experiment, place)
    state = checkpoints.load(place.device)
    keeper, _, tensorboard = logging_presets.get_record_keeper(
        str(place.folder / "logs"), str(place.folder / "tensorboard")
    )
    hooks = logging_presets.get_hook_container(keeper, primary_metric="recall_at_1")
    trainer = _trainer(experiment, data, place, models, hooks, report)
    tester = _tester(data, place, experiment.workers, hooks)
    history: list[dict[str, float]] = []
    if state is not None:
        history = state["history"]
        _restore(trainer, state)
    for epoch in range(len(history) + 1, experiment.epochs + 1):
        _seed((experiment.seed, epoch))
        with warnings.catch_warnings():
            # PML formats its loss for a progress bar without detaching it.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True")
            trainer.train_epoch(epoch)
        history.append(_evaluate(tester, trainer, data))
        keeper.update_records({"throughput": trainer.throughput()}, epoch)
        keeper.save_records()
        tensorboard.flush()
        best = _best(history)["epoch"] == epoch
        checkpoints.save(epoch, _state(trainer, history), _weights(trainer) if best else None)
    tensorboard.close()
    return _finish(experiment, trainer, history, place.folder)


def finished(folder: Path) -> dict[str, Any] | None:
    """The result of a run that is finished."""
    path = folder / RESULT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _models(experiment: Experiment, place: Place) -> dict[str, nn.Module]:
    trunk = backbone(
        experiment.backbone,
        pooling=experiment.pooling,
        weights=place.weights,
        frozen_batch_norm=experiment.frozen_batch_norm,
    )
    embedder = embedding_head(trunk.features, experiment.dims)
    trunk = trunk.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return {"trunk": trunk, "embedder": embedder.to(place.device)}


def _miner_and_loss(experiment: Experiment) -> MinerAndLoss:
    miner, loss = CONTENDERS[experiment.loss](**experiment.hyperparameters)
    if not experiment.memory:
        return miner, loss
    return None, CrossBatchMemory(loss, experiment.dims, experiment.memory, miner)


def _trainer(
    experiment: Experiment,
    data: Data,
    place: Place,
    models: dict[str, nn.Module],
    hooks: Any,
    report: Report,
) -> Trainer:
    miner, loss = _miner_and_loss(experiment)
    optimizers = {
        name: torch.optim.Adam(
            model.parameters(), lr=experiment.learning_rate, weight_decay=experiment.weight_decay
        )
        for name, model in models.items()
    }

    def end_of_iteration(trainer: Trainer) -> None:
        hooks.end_of_iteration_hook(trainer)
        report(trainer)

    return Trainer(
        experiment,
        models=models,
        optimizers={f"{name}_optimizer": optimizer for name, optimizer in optimizers.items()},
        lr_schedulers={
            f"{name}_scheduler_by_iteration": torch.optim.lr_scheduler.MultiStepLR(
                optimizer, list(experiment.milestones)
            )
            for name, optimizer in optimizers.items()
        },
        loss_funcs={"metric_loss": loss.to(place.device)},
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        dataset=data.train,
        data_device=place.device,
        end_of_iteration_hook=end_of_iteration,
    )


def _tester(data: Data, place: Place, workers: int, hooks: Any) -> GlobalEmbeddingSpaceTester:
    return GlobalEmbeddingSpaceTester(
        batch_size=128,
        dataloader_num_workers=workers,
        data_device=place.device,
        end_of_testing_hook=hooks.end_of_testing_hook,
        accuracy_calculator=RecallCalculator(data.ks(), place.backend),
    )


def _evaluate(tester: GlobalEmbeddingSpaceTester, trainer: Trainer, data: Data) -> dict[str, float]:
    """Recall@K after an epoch, in the protocol of the data set."""
    query, gallery = data.queries.queries, data.queries.references
    splits = {query: data.queries} | ({gallery: data.references} if gallery else {})
    found = tester.test(
        splits,
        trainer.epoch,
        trainer.models["trunk"],
        trainer.models["embedder"],
        [(query, [gallery or query])],
    )[query]
    recalls = {f"recall_at_{k}": float(found[f"recall_at_{k}_level0"]) for k in data.ks()}
    return {"epoch": trainer.epoch, "iteration": trainer.get_global_iteration() + 1, **recalls}


PARTS = ("models", "optimizers", "lr_schedulers", "loss_funcs", "mining_funcs")


def _state(trainer: Trainer, history: list[dict[str, float]]) -> dict[str, Any]:
    """All that an epoch takes over from those before it. Random numbers are seeded by epoch."""
    parts = {
        part: {name: item.state_dict() for name, item in getattr(trainer, part).items()}
        for part in PARTS
    }
    return {"history": history, **parts}


def _restore(trainer: Trainer, state: dict[str, Any]) -> None:
    for part in PARTS:
        for name, item in getattr(trainer, part).items():
            item.load_state_dict(state[part][name])


def _weights(trainer: Trainer) -> dict[str, Any]:
    return {name: model.state_dict() for name, model in trainer.models.items()}


def _best(history: list[dict[str, float]]) -> dict[str, float]:
    """The epoch of the highest Recall@1, the first of equal ones."""
    return max(history, key=lambda row: (row["recall_at_1"], -row["epoch"]))


def _finish(
    experiment: Experiment, trainer: Trainer, history: list[dict[str, float]], folder: Path
) -> dict[str, Any]:
    """Keep the weights of the last and the best epoch and the result, in this order."""
    checkpoints = Checkpoints(folder)
    best = checkpoints.best_weights()
    write_atomically(folder / "last.pt", lambda path: torch.save(_weights(trainer), path))
    write_atomically(folder / "best.pt", lambda path: shutil.copyfile(best, path))
    result = {
        "experiment": {**experiment.settings(), "seed": experiment.seed},
        "last": history[-1],
        "best": _best(history),
        "history": history,
        "environment": environment(),
    }
    text = json.dumps(result, indent=1)
    write_atomically(folder / RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    checkpoints.clear()
    return result


def _seed(entropy: tuple[int, int]) -> None:
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # PML's samplers draw from the global generator
    torch.manual_seed(seed)
