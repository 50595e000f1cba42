"""A training in epochs that do not depend on what ran before them in the process."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from .. import checks
from ..evaluation.items import collate, to_device
from ..evaluation.options import checked_device
from . import processes
from .experiment import SAMPLERS, Experiment, epoch_seed
from .views import NumberedBatches, SeededViews

SAMPLED = 16
"""Classes of which items are read before a training, and all such items where classes are few."""
BY_ITERATION, BY_EPOCH = "_scheduler_by_iteration", "_scheduler_by_epoch"


class Trainer:
    """The training of an :class:`Experiment`, one epoch at a time.

    An epoch ends where the experiment evaluates or saves a checkpoint. ``train_epoch(epoch)`` seeds
    all random numbers and makes a new loader, so that only models, optimizers, schedules and losses
    carry over from one epoch to the next: a process that starts from their checkpoint trains the
    same epoch. The batches of all epochs are one stream.

    Images go to the device in the memory format channels last; under ``amp`` the model computes
    under autocast to bfloat16, and losses get float32.

    Parts have the names that the trainers of pytorch-metric-learning 2 give them. ``losses`` holds
    the latest "metric_loss", and "total_loss", which is the same.

    Args:
        experiment: the settings.
        dataset: of (image, integer label), with all labels as attribute ``labels``. In place of
            an image there may be any item that ``collate_fn`` makes batches of, such as a text.
        models: "trunk", from a batch of images (B, …) or of other items, and perhaps "embedder",
            to embeddings (B, D).
        optimizers: of any names; all of them step.
        loss_funcs: "metric_loss".
        mining_funcs: "tuple_miner", or none.
        lr_schedulers: by names that end in "_scheduler_by_iteration" or "_scheduler_by_epoch".
        workers: processes that load images.
        random_views: True: the items of ``dataset`` draw random numbers, which then depend on seed
            and position alone (:class:`SeededViews`). False saves time if they draw none.
        data_device: where to compute; a GPU where there is one, else the CPU.
        collate_fn: as of torch's ``DataLoader``.
        end_of_iteration_hook: called with the trainer after each step.
        end_of_epoch_hook: called with the trainer after each epoch.

    Errors: ValueError for parts of other names, for items that make no batch, and for labels that
    are not those of the items, as far as a sample of them shows: items of one class must have one
    label, whatever its number.

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
        self,
        experiment: Experiment,
        *,
        dataset: Any,
        models: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer],
        loss_funcs: Mapping[str, nn.Module],
        mining_funcs: Mapping[str, nn.Module] | None = None,
        lr_schedulers: Mapping[str, Any] | None = None,
        workers: int = 0,
        random_views: bool = True,
        data_device: torch.device | str | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        end_of_iteration_hook: Callable[["Trainer"], Any] | None = None,
        end_of_epoch_hook: Callable[["Trainer"], Any] | None = None,
    ) -> None:
        checks.instance("random_views", random_views, bool)
        self.workers = checks.non_negative_integer("workers", workers)
        self.experiment, self.random_views = experiment, random_views
        self.dataset, self.collate_fn = dataset, collate_fn or collate
        self.models = {"embedder": nn.Identity(), **models}
        self.optimizers, self.loss_funcs = dict(optimizers), dict(loss_funcs)
        self.mining_funcs, self.lr_schedulers = dict(mining_funcs or {}), dict(lr_schedulers or {})
        _check_names("models", self.models, {"trunk", "embedder"})
        _check_names("loss_funcs", self.loss_funcs, {"metric_loss"})
        _check_names("mining_funcs", {**self.mining_funcs, "tuple_miner": None}, {"tuple_miner"})
        for name in self.lr_schedulers:
            if not name.endswith((BY_ITERATION, BY_EPOCH)):
                raise ValueError(
                    f"lr_schedulers must have names that end in {BY_ITERATION} or {BY_EPOCH}, "
                    f"got {name!r}"
                )
        self.data_device = checked_device(data_device) or torch.device(processes.default_device())
        self.end_of_iteration_hook = end_of_iteration_hook
        self.end_of_epoch_hook = end_of_epoch_hook
        self.losses: dict[str, Any] = {"metric_loss": 0, "total_loss": 0}
        self.epoch = self.iteration = self.start = 0
        self.images, self.seconds, self.waiting = 0, 0.0, 0.0
        self.sampler = SAMPLERS[experiment.sampler](
            dataset.labels,
            experiment.batch,
            per_class=experiment.per_class,
            batches=experiment.iterations,
            seed=epoch_seed(experiment.seed, 0),
        )
        _check_labels(dataset, self.sampler.images)

    def train(self, start_epoch: int = 1, num_epochs: int | None = None) -> None:
        """Train the epochs from ``start_epoch`` to ``num_epochs``, by default all."""
        for epoch in range(start_epoch, (num_epochs or len(self.experiment.stops)) + 1):
            self.train_epoch(epoch)

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, counted from 1."""
        self.epoch = epoch
        self.start, stop = (0, *self.experiment.stops)[epoch - 1 : epoch + 1]
        seed_all(epoch_seed(self.experiment.seed, epoch))
        with tf32(self.experiment.tf32):
            batches = iter(self.dataloader(stop))
            self.images, self.seconds, self.waiting = 0, 0.0, 0.0
            began = time.perf_counter()
            for module in (*self.models.values(), *self.loss_funcs.values()):
                module.train()
            for iteration in range(stop - self.start):
                self.iteration = iteration
                asked = time.perf_counter()
                images, labels = next(batches)
                self.waiting += time.perf_counter() - asked  # nothing is computed meanwhile
                self.step(images, labels)
                self.seconds = time.perf_counter() - began  # runs on between steps, as a GPU does
                self.images += self.experiment.batch
                if self.end_of_iteration_hook is not None:
                    self.end_of_iteration_hook(self)
                self._step_schedulers(BY_ITERATION)
            self._step_schedulers(BY_EPOCH)
            self.losses = dict.fromkeys(self.losses, 0)
        if self.end_of_epoch_hook is not None:
            self.end_of_epoch_hook(self)

    def dataloader(self, stop: int) -> DataLoader[Any]:
        """A new loader of the batches from the start of this epoch to a step ``stop``."""
        self.sampler.load_state_dict(self.sampler.state_dict(batches_done=self.start))
        dataset = self.dataset
        batches: Iterable[Any] = self.sampler
        if self.random_views:
            batches = NumberedBatches(self.sampler)
            dataset = SeededViews(dataset, (self.experiment.seed,))
        return DataLoader(
            dataset,
            batch_sampler=[*islice(batches, stop - self.start)],
            num_workers=self.workers,
            collate_fn=self.collate_fn,
            pin_memory=self.data_device.type == "cuda",
        )

    def get_global_iteration(self) -> int:
        """The iterations before this one, whatever the lengths of epochs."""
        return int(self.start + self.iteration)

    def step(self, images: Any, labels: Tensor) -> None:
        """One step of the optimizers on a batch of B images or other items and labels (B,)."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        for module in (*self.models.values(), *self.loss_funcs.values()):
            module.zero_grad()  # also what no optimizer has
        embeddings = self.compute_embeddings(images)
        miner = self.mining_funcs.get("tuple_miner")
        pairs = None if miner is None else miner(embeddings, labels)
        loss = self.loss_funcs["metric_loss"](embeddings, labels, pairs)
        self.losses = {"metric_loss": loss, "total_loss": loss}
        loss.backward()
        self.step_optimizers()

    def step_optimizers(self) -> None:
        """The step of each optimizer, after backward."""
        for optimizer in self.optimizers.values():
            optimizer.step()

    def compute_embeddings(self, images: Any) -> Tensor:
        """The embeddings (B, D) of a batch, in float32."""
        images = to_device(images, self.data_device)
        with torch.autocast(self.data_device.type, torch.bfloat16, enabled=self.experiment.amp):
            embeddings: Tensor = self.models["embedder"](self.models["trunk"](images))
        return embeddings.float()

    def throughput(self) -> dict[str, float]:
        """Images per second in this epoch, and the share of the time that waited for data."""
        seconds = max(self.seconds, 1e-9)
        speed, waiting = self.images / seconds, self.waiting / seconds
        return {"images_per_second": speed, "waiting_share": waiting}

    def _step_schedulers(self, when: str) -> None:
        for name, scheduler in self.lr_schedulers.items():
            if name.endswith(when):
                scheduler.step()


def _check_names(argument: str, parts: Mapping[str, Any], allowed: set[str]) -> None:
    """Raise a ValueError unless parts have the names that they may have, all of them."""
    if parts.keys() != allowed:
        raise ValueError(
            f"{argument} must have the names {', '.join(sorted(allowed))}, got "
            f"{', '.join(sorted(parts))}"
        )


def _check_labels(dataset: Any, classes: list[Any]) -> None:
    """Refuse labels that are not those of the items; ``classes``: the items (n,) of each."""
    count = len(dataset.labels)
    if hasattr(dataset, "__len__") and len(dataset) != count:
        raise ValueError(
            f"dataset.labels must be one for each of {len(dataset)} items, got {count}"
        )
    views = SeededViews(dataset, (0,))  # torch's random numbers stay as they are
    several = max(2, SAMPLED // len(classes))
    for items in classes[:: -(-len(classes) // SAMPLED)]:
        sample = {int(i) for i in items[np.linspace(0, len(items) - 1, several).astype(int)]}
        found = {label: i for i in sample if isinstance(label := _label(views[i, 0]), int)}
        if len(found) > 1:
            (label, i), (other, j), *_ = found.items()
            raise ValueError(
                f"dataset.labels must be those of the items, got one label for the items {i} and "
                f"{j}, which have {label} and {other}"
            )


def _label(item: Any) -> Any:
    """The label of an item (image, label), a tensor or array as numbers."""
    label: Any = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else None
    return label.tolist() if hasattr(label, "tolist") else label


def seed_all(seed: int) -> None:
    """Seed ``random``, NumPy and torch; torch's numbers differ between processes."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # users' data sets may draw from the global generator
    torch.manual_seed(seed + processes.rank())


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let products and convolutions on a GPU round to TF32, or not; as it was, afterwards."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value
