"""PML's trainer with mixed precision, a schedule of epochs and a look at the time."""

import time
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import Tensor
from torch.utils.data import DataLoader

from pml_gpw.training import ClassBatches, NumberedBatches, SeededViews

from .presets import PER_CLASS, SAMPLERS, Experiment


class Trainer(MetricLossOnly):
    """Trains one epoch at a time, the same whether or not others came before it in this process.

    ``train_epoch(epoch)`` after seeding all random numbers: sampler and data loader are made anew
    for each epoch, so nothing but models, optimizers, schedules and losses is carried over.
    """

    def __init__(self, experiment: Experiment, workers: int, **kwargs: Any) -> None:
        self.experiment, self.workers = experiment, workers
        self.images, self.seconds, self.waiting = 0, 0.0, 0.0
        super().__init__(
            batch_size=experiment.batch, iterations_per_epoch=experiment.evaluate_every, **kwargs
        )

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, counted from 1; the last one may be shorter."""
        self.epoch = epoch  # PML sets it after it has made the loader
        done = (epoch - 1) * self.experiment.evaluate_every
        self.iterations_per_epoch = min(
            self.experiment.evaluate_every, self.experiment.iterations - done
        )
        self.images, self.seconds, self.waiting = 0, 0.0, 0.0
        self.began = time.perf_counter()
        self.train(epoch, epoch)

    def initialize_dataloader(self) -> None:
        """A new sampler and loader for this epoch."""
        self.dataloader = DataLoader(
            SeededViews(self.dataset, (self.experiment.seed, self.epoch)),
            batch_sampler=NumberedBatches(self._batches()),
            num_workers=self.workers,
            pin_memory=self.data_device.type == "cuda",
        )
        self.dataloader_iter = iter(self.dataloader)

    def _batches(self) -> ClassBatches:
        """Those of this epoch: drawn afresh, or of groups that are used up over all epochs."""
        one_stream = self.experiment.sampler == "exhaustive"
        batches = SAMPLERS[self.experiment.sampler](
            self.dataset.labels,
            self.experiment.batch,
            per_class=PER_CLASS,
            batches=self.experiment.evaluate_every,
            seed=epoch_seed(self.experiment.seed, 0 if one_stream else self.epoch),
        )
        if one_stream:
            done = (self.epoch - 1) * self.experiment.evaluate_every
            batches.load_state_dict(batches.state_dict(batches_done=done))
        return batches

    def get_global_iteration(self) -> int:
        """The iterations before this one, whatever the length of the last epoch."""
        return int(self.iteration + self.experiment.evaluate_every * (self.epoch - 1))

    def forward_and_backward(self) -> None:
        """PML's step; time runs on between steps, since a GPU does as well."""
        super().forward_and_backward()
        self.seconds = time.perf_counter() - self.began
        self.images += self.experiment.batch

    def get_batch(self) -> Any:
        """PML's batch; the time until it is there is time in which nothing is computed."""
        started = time.perf_counter()
        batch = super().get_batch()
        self.waiting += time.perf_counter() - started
        return batch

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """Channels last, under autocast to bfloat16 with ``amp``; embeddings in float32."""
        data = data.to(self.data_device, non_blocking=True, memory_format=torch.channels_last)
        with torch.autocast(self.data_device.type, torch.bfloat16, enabled=self.experiment.amp):
            embeddings: Tensor = super().compute_embeddings(data)
        return embeddings.float()

    def throughput(self) -> dict[str, float]:
        """Images per second in this epoch, and the share of the time that waited for data."""
        seconds = max(self.seconds, 1e-9)
        return {
            "images_per_second": self.images / seconds,
            "waiting_share": self.waiting / seconds,
        }


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch of a run; epoch 0 makes the models."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
