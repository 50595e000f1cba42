"""Random views of images that do not depend on the process that draws them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset

from .. import checks
from .sampling import ClassBatches, Epoch


class NumberedBatches(BatchSampler):
    """The batches of a sampler, each image with its position, as ``SeededViews`` needs them.

    The position counts all images of all processes from the first batch of the sampler on. It
    belongs to the same image whichever process draws it, and also after an interruption. Length and
    state are those of the sampler.

    Args:
        batches: a sampler of whole classes.

    Errors: ValueError for another sampler.

    Example:
        >>> from pml_gpw.training import ExhaustiveClassBatches, NumberedBatches
        >>> labels = [0, 0, 1, 1]
        >>> sampler = ExhaustiveClassBatches(labels, 2, per_class=2, batches=2)
        >>> [[place for image, place in batch] for batch in NumberedBatches(sampler)]
        [[0, 1], [2, 3]]
    """

    def __init__(self, batches: ClassBatches) -> None:
        checks.instance("batches", batches, ClassBatches)
        self.batches = batches
        self.batch_size = batches.batch_size
        self.state_dict, self.load_state_dict = batches.state_dict, batches.load_state_dict

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return Epoch(self.batches, self._numbered)

    def _numbered(self, number: int) -> list[tuple[int, int]]:
        share = self.batches.share(number)
        start = number * self.batch_size + self.batches.rank * len(share)
        return [(image, start + i) for i, image in enumerate(share)]


class SeededViews(Dataset[Any]):
    """A data set whose random views depend on seed and position alone.

    So neither the number of loading processes nor that of training processes changes a result. An
    item is read with torch's CPU generator seeded by ``(*entropy, position)``, and afterwards the
    generator has its former state. Transforms that draw from ``random`` or from NumPy are
    not seeded; those of torchvision draw from torch.

    Args:
        dataset: a data set whose items are drawn from torch's random numbers.
        entropy: the seed, as a tuple of integers >= 0; for example seed and epoch.

    It is indexed by pairs (index, position), position an integer >= 0, as :class:`NumberedBatches`
    gives them.

    Errors: ValueError for an entropy that is no tuple of integers >= 0 or is empty; whatever
    ``dataset`` raises.

    Example:
        >>> import torch
        >>> from pml_gpw.training import SeededViews
        >>> class Noise(torch.utils.data.Dataset):
        ...     def __getitem__(self, index):
        ...         return torch.rand(3) + index
        >>> views = SeededViews(Noise(), (0, 1))
        >>> torch.equal(views[7, 100], views[7, 100]), torch.equal(views[7, 100], views[7, 101])
        (True, False)
    """

    def __init__(self, dataset: Dataset[Any], entropy: tuple[int, ...]) -> None:
        if not isinstance(entropy, tuple) or not entropy:
            raise ValueError(f"entropy must be a tuple of integers >= 0, got {entropy!r}")
        for value in entropy:
            checks.non_negative_integer("every entry of entropy", value)
        self.dataset, self.entropy = dataset, entropy

    def __getitem__(self, numbered: tuple[int, int]) -> Any:
        index, place = numbered
        seed = np.random.SeedSequence((*self.entropy, place)).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))  # of the CPU alone
            return self.dataset[index]
