"""One training run through PML's trainer, tester and hooks, ending in Recall@K."""

import random
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from torch import nn
from torch.utils.data import Dataset

from pml_gpw.evaluation import RecallCalculator, recall_at_k
from pml_gpw.training import RandomClassBatches, processes

from .contenders import CONTENDERS
from .networks import small_cnn
from .presets import PER_CLASS

KS = (1, 2, 4, 8)
RECALLS = tuple(f"recall_at_{k}" for k in KS)
SPLIT = "val"  # the name under which PML's hooks look for what they evaluate


@dataclass(frozen=True)
class Settings:
    """What defines a run beside its loss and seed."""

    dataset: str
    root: str | None
    iterations: int
    batch: int
    dims: int
    learning_rate: float
    device: str


@dataclass(frozen=True)
class Splits:
    """Images and labels of disjoint train and test classes."""

    train: Dataset
    test: Dataset


def raw_pixel_recall(splits: Splits) -> dict[int, float]:
    """Recall@K of the test images themselves, flattened, by cosine similarity."""
    images = torch.stack([splits.test[i][0] for i in range(len(splits.test))])  # type: ignore[arg-type]
    return recall_at_k(images.flatten(1), splits.test.labels, ks=KS)  # type: ignore[attr-defined]


def train_and_test(
    name: str,
    seed: int,
    settings: Settings,
    splits: Splits,
    folder: Path,
    on_iteration: Callable[[MetricLossOnly], object],
) -> dict[str, float]:
    """Train one contender with one seed; Recall@K after the last iteration and the seconds taken.

    Logs go to ``folder`` (emptied first): CSV, SQLite and TensorBoard by record-keeper. Of several
    processes, the first one logs and tests; all have the result.
    """
    _seed_everything(seed)
    miner, loss = processes.loss_over_processes(*CONTENDERS[name]())
    models = _models(settings)
    trainer = MetricLossOnly(
        models={part: processes.data_parallel(model) for part, model in models.items()},
        optimizers={
            f"{part}_optimizer": torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
            for part, model in models.items()
        },
        batch_size=settings.batch,
        loss_funcs={"metric_loss": loss},
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        dataset=splits.train,
        sampler=RandomClassBatches(
            splits.train.labels,  # type: ignore[attr-defined]
            settings.batch,
            per_class=PER_CLASS,
            batches=settings.iterations,
            seed=seed,
        ),
        iterations_per_epoch=settings.iterations,
        dataloader_num_workers=0,
        data_device=torch.device(settings.device),
        end_of_iteration_hook=on_iteration,
    )
    if not processes.is_first():
        _trained(trainer)
        return processes.from_first({})
    shutil.rmtree(folder, ignore_errors=True)
    keeper, _, tensorboard = logging_presets.get_record_keeper(
        str(folder / "logs"), str(folder / "tensorboard")
    )
    hooks = logging_presets.get_hook_container(keeper, primary_metric="recall_at_1")
    tester = GlobalEmbeddingSpaceTester(
        batch_size=512,
        dataloader_num_workers=0,
        data_device=torch.device(settings.device),
        end_of_testing_hook=hooks.end_of_testing_hook,
        accuracy_calculator=RecallCalculator(ks=KS),
    )

    def end_of_iteration(trainer: MetricLossOnly) -> None:
        hooks.end_of_iteration_hook(trainer)
        on_iteration(trainer)

    trainer.end_of_iteration_hook = end_of_iteration
    trainer.end_of_epoch_hook = hooks.end_of_epoch_hook(
        tester, {SPLIT: splits.test}, str(folder / "models")
    )
    seconds = _trained(trainer)
    tensorboard.close()
    accuracies = tester.all_accuracies[SPLIT]
    recalls = {name: float(accuracies[f"{name}_level0"]) for name in RECALLS}
    return processes.from_first({**recalls, "seconds": seconds})


def _trained(trainer: MetricLossOnly) -> float:
    """Train one epoch; the seconds taken."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        # PML formats its loss for a progress bar without detaching it.
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True to a scalar")
        trainer.train(num_epochs=1)
    return time.perf_counter() - started


def _models(settings: Settings) -> dict[str, nn.Module]:
    trunk, features = small_cnn()
    models = {"trunk": trunk, "embedder": nn.Linear(features, settings.dims)}
    return {part: model.to(settings.device) for part, model in models.items()}


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # PML draws from the global generator
    torch.manual_seed(seed)
