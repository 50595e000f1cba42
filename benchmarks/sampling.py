"""Random classes, some images of each: the batches of pair-based losses."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset

from . import processes

PER_CLASS = 5


class ClassBatches(BatchSampler):
    """Batches of whole classes by PML's sampler; each process takes its share of the classes.

    Drawn by the global random numbers of NumPy: seeded alike, all processes draw the same batches,
    and their shares one after another are the batch of a single process.
    """

    def __init__(self, labels: Sequence[int] | Tensor, batch: int, iterations: int) -> None:
        self.batch, self.iterations = batch, iterations
        self.sampler = MPerClassSampler(labels, PER_CLASS, batch, batch * iterations)

    def __len__(self) -> int:
        return self.iterations

    def __iter__(self) -> Iterator[Any]:
        for _, share in self._shares():
            yield share

    def _shares(self) -> Iterator[tuple[int, list[int]]]:
        """Where each share begins among all images of the epoch, and its images."""
        indices = [int(index) for index in self.sampler]
        size = self.batch // processes.world()
        for start in range(processes.rank() * size, len(indices), self.batch):
            yield start, indices[start : start + size]


class NumberedBatches(ClassBatches):
    """The same, each image with its place among all of the epoch, for ``SeededViews``."""

    def __iter__(self) -> Iterator[Any]:
        for start, share in self._shares():
            yield [(index, start + i) for i, index in enumerate(share)]


class SeededViews(Dataset[Any]):
    """Random views that depend on seed, epoch and place, and not on the process that draws them.

    So neither the number of loading processes nor that of training processes changes a result.
    """

    def __init__(self, dataset: Dataset[Any], entropy: tuple[int, ...]) -> None:
        self.dataset, self.entropy = dataset, entropy

    def __getitem__(self, numbered: tuple[int, int]) -> Any:
        index, place = numbered
        seed = np.random.SeedSequence((*self.entropy, place)).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))  # of the CPU alone
            return self.dataset[index]
