"""PML's trainer in epochs that do not depend on what ran before them in the process."""

import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import Tensor
from torch.utils.data import DataLoader

from . import processes
from .experiment import SAMPLERS, Experiment, epoch_seed
from .views import NumberedBatches, SeededViews


class Trainer(MetricLossOnly):
    """``MetricLossOnly`` of PML for an :class:`Experiment`, one epoch at a time.

    An epoch ends where the experiment evaluates or keeps a checkpoint. ``train_epoch(epoch)`` seeds
    all random numbers and makes a new loader, so that nothing but models, optimizers, schedules and
    losses is carried over: with their states of the last checkpoint, it is the same in a process
    that begins with it. Batches are those of one stream over all epochs.

    Images go to the device in the memory format channels last; under ``amp`` the model computes
    under autocast to bfloat16, and losses get float32.

    Args:
        experiment: the settings.
        workers: processes that load images.
        random_views: whether the items of ``dataset`` draw random numbers, which then depend on
            seed and place alone (:class:`SeededViews`). False saves time where they draw none.
        kwargs: the arguments of PML's trainers, ``dataset`` with an attribute ``labels``.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from pml_gpw import MSWeightedLoss
        >>> from pml_gpw.training import Experiment, Trainer
        >>> data = TensorDataset(torch.rand(12, 3), torch.arange(12) // 4)
        >>> data.labels = data.tensors[1]
        >>> model = torch.nn.Linear(3, 2)
        >>> trainer = Trainer(
        ...     Experiment(iterations=4, batch=6, per_class=2, learning_rate=0.01),
        ...     dataset=data,
        ...     models={"trunk": model},
        ...     optimizers={"trunk_optimizer": torch.optim.Adam(model.parameters(), 0.01)},
        ...     loss_funcs={"metric_loss": MSWeightedLoss()},
        ... )
        >>> trainer.train_epoch(1)
        >>> trainer.get_global_iteration()
        3
    """

    def __init__(
        self, experiment: Experiment, workers: int = 0, random_views: bool = True, **kwargs: Any
    ) -> None:
        self.experiment, self.workers, self.random_views = experiment, workers, random_views
        self.images, self.seconds, self.waiting = 0, 0.0, 0.0
        super().__init__(
            batch_size=experiment.batch, iterations_per_epoch=experiment.iterations, **kwargs
        )
        self.sampler = SAMPLERS[experiment.sampler](
            self.dataset.labels,
            experiment.batch,
            per_class=experiment.per_class,
            batches=experiment.iterations,
            seed=epoch_seed(experiment.seed, 0),
        )

    def train(self, start_epoch: int = 1, num_epochs: int | None = None) -> None:
        """Train the epochs from ``start_epoch`` to ``num_epochs``, by default all."""
        for epoch in range(start_epoch, (num_epochs or len(self.experiment.stops)) + 1):
            self.train_epoch(epoch)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, counted from 1."""
        self.epoch = epoch
        self.start, stop = (0, *self.experiment.stops)[epoch - 1 : epoch + 1]
        self.iterations_per_epoch = stop - self.start
        seed_all(epoch_seed(self.experiment.seed, epoch))
        with tf32(self.experiment.tf32):
            self.initialize_dataloader()
            self.images, self.seconds, self.waiting = 0, 0.0, 0.0
            self.began = time.perf_counter()
            self.set_to_train()
            for iteration in range(self.iterations_per_epoch):
                self.iteration = iteration
                self.forward_and_backward()
                self.end_of_iteration_hook(self)
                self.step_lr_schedulers(end_of_epoch=False)
            self.step_lr_schedulers(end_of_epoch=True)
            self.zero_losses()
        self.end_of_epoch_hook(self)

    def initialize_dataloader(self) -> None:
        """A new loader of the batches of this epoch."""
        if self.sampler.batches_done != self.start:
            self.sampler.load_state_dict(self.sampler.state_dict(batches_done=self.start))
        dataset = self.dataset
        batches: Iterable[Any] = self.sampler
        if self.random_views:
            batches = NumberedBatches(self.sampler)
            dataset = SeededViews(dataset, (self.experiment.seed,))
        self.dataloader = DataLoader(
            dataset,
            batch_sampler=[*islice(batches, self.iterations_per_epoch)],
            num_workers=self.workers,
            collate_fn=self.collate_fn,
            pin_memory=self.data_device.type == "cuda",
        )
        self.dataloader_iter = iter(self.dataloader)

    def get_global_iteration(self) -> int:
        """The iterations before this one, whatever the lengths of epochs."""
        return int(self.start + self.iteration)

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
        """The embeddings (B, D) of a batch, in float32."""
        layout = torch.channels_last if data.ndim == 4 else torch.preserve_format
        data = data.to(self.data_device, non_blocking=True, memory_format=layout)
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


def seed_all(seed: int) -> None:
    """Seed ``random``, NumPy and torch; torch's numbers differ between processes."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # users' data sets may draw from the global generator
    torch.manual_seed(seed + processes.rank())


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
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
