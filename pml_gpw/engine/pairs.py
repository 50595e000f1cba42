"""The pairs of a batch, positives and negatives, before mining.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

#: (a1, p, a2, n): anchors and positives (K,), anchors and negatives (K,).
IndexTuple = tuple[Tensor, Tensor, Tensor, Tensor]


def without_self_pairs(
    pos: Tensor, neg: Tensor, self_index: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Masks (C, M) without the pairs of an anchor and itself, in column ``self_index`` (C,).

    −1 stands for none, and None for none at all.
    """
    if self_index is None:
        return pos, neg
    other = torch.arange(pos.shape[1], device=pos.device) != self_index.unsqueeze(1)
    return pos & other, neg & other  # references that equal the anchors may have other labels


class Pairs(ABC):
    """A relation between N anchors and M references, looked at in chunks of anchors."""

    #: The column (N,) of each anchor itself among the references, −1 where it is not there.
    self_index: Tensor | None = None
    #: True where the caller said where the anchors are, rather than their values.
    self_index_is_given: bool = False
    #: True where labels make each anchor its own self pair, and pairs are pairs both ways.
    symmetric: bool = False
    #: The reason to name for a batch without pairs.
    where_none: ClassVar[str] = "the pairs name none"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, M)."""

    @abstractmethod
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        """The positives and negatives (C, M) of some anchors."""

    def graded_masks(self, anchors: slice) -> tuple[Tensor, Tensor, Tensor | float]:
        """The masks of some anchors and the relevance (C, M) of their pairs; 1: pairs without."""
        return *self.masks(anchors), 1.0

    @abstractmethod
    def part(self, anchors: slice) -> "Pairs":
        """The same for some of the anchors only; all references stay."""

    def self_index_of(self, anchors: slice) -> Tensor | None:
        """``self_index`` of some anchors."""
        return None if self.self_index is None else self.self_index[anchors]

    def index_tuple(self) -> IndexTuple:
        """All pairs as indices, row by row. It holds a mask of all N × M pairs."""
        pos, neg = self.masks(slice(0, self.shape[0]))
        (a1, p), (a2, n) = pos.nonzero(as_tuple=True), neg.nonzero(as_tuple=True)
        return a1, p, a2, n
