"""The pairs of equal labels, found by sorting.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

import torch
from torch import Tensor

from ..label_pairs import LabelPairs


class LabelIndex:
    """The references of each label, looked up by anchor.

    >>> labels = torch.tensor([5, 7, 5])
    >>> LabelIndex(LabelPairs(labels, labels)).equal_labels(slice(0, 2))
    (tensor([0, 0, 1]), tensor([0, 2, 1]))
    """

    def __init__(self, pairs: LabelPairs) -> None:
        self.pairs = pairs
        ordered, self._order = pairs.reference_labels.sort(stable=True)
        self._first = torch.searchsorted(ordered, pairs.labels)
        self._count = torch.searchsorted(ordered, pairs.labels, right=True) - self._first
        #: The number of pairs of equal labels, self pairs included.
        self.num_equal_labels = int(self._count.sum())

    def equal_labels(self, anchors: slice) -> tuple[Tensor, Tensor]:
        """The rows (K,), from 0, and columns (K,) of the equal labels of some anchors.

        Row by row, with the self pairs.
        """
        count = self._count[anchors]
        row = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        place = torch.arange(len(row), device=row.device) + (self._first[anchors] - before)[row]
        return row, self._order[place]
