"""Pairs by labels: equal labels are positives, all others negatives.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from .pairs import Pairs, without_self_pairs


@dataclass(frozen=True, eq=False)
class LabelPairs(Pairs):
    """Pairs of equal labels are positives, all others negatives.

    Args:
        labels: (N,) int64.
        reference_labels: (M,) int64.
        self_index: (N,) int64, the column of each anchor itself among the references, −1 where it
            is not there; that pair is neither. None: it is nowhere.
        self_index_is_given: whether the caller said where anchors are, rather than their values.
        symmetric: whether anchors and references are the same objects, each its own self pair.

    >>> import torch
    >>> labels = torch.tensor([0, 0, 1])
    >>> LabelPairs(labels, labels, torch.arange(3)).masks(slice(0, 1))
    (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """

    labels: Tensor
    reference_labels: Tensor
    self_index: Tensor | None = None
    self_index_is_given: bool = False
    symmetric: bool = False
    where_none: ClassVar[str] = "the labels give none"

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.labels.shape[0], self.reference_labels.shape[0]

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        self_index = None if self.symmetric else self.self_index_of(anchors)
        pos, neg = label_masks(self.labels[anchors], self.reference_labels, self_index)
        if self.symmetric:
            pos.diagonal(anchors.start).fill_(False)
        return pos, neg

    @override
    def graded_masks(self, anchors: slice) -> tuple[Tensor, Tensor, Tensor | float]:
        return *self.masks(anchors), 1.0

    @override
    def part(self, anchors: slice) -> "LabelPairs":
        self_index = self.self_index_of(anchors)
        return LabelPairs(self.labels[anchors], self.reference_labels, self_index, True)


def label_masks(
    labels: Tensor, reference_labels: Tensor, self_index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of positives (equal labels) and negatives, without self pairs.

    Shapes: ``labels`` (N,), ``reference_labels`` (M,), ``self_index`` (N,), −1 for none.
    """
    neg = labels.unsqueeze(1) != reference_labels.unsqueeze(0)
    pos = ~neg
    return (pos, neg) if self_index is None else without_self_pairs(pos, neg, self_index)
