"""Which pairs of a batch are positives and which are negatives, before mining.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from ..mining import PairMining
from ..weightings import Rows
from ..weightings.sparse_rows import rows_by_density

IndexTuple = tuple[Tensor, Tensor, Tensor, Tensor]
"""(a1, p, a2, n): anchors and positives (K,), anchors and negatives (K,)."""


class Pairs(ABC):
    """A relation between N anchors and M references, looked at in chunks of anchors."""

    self_index: Tensor | None = None
    """The column (N,) of each anchor itself among the references, −1 where it is not there."""

    self_index_is_given: bool = False
    """Whether the caller said where the anchors are, rather than their values."""
    where_none: ClassVar[str] = "the pairs name none"
    """What to say of a batch without pairs."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, M)."""

    @abstractmethod
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        """The positives and negatives (C, M) of some anchors."""

    @abstractmethod
    def part(self, anchors: slice) -> "Pairs":
        """The same for some of the anchors only; all references stay."""

    def rows(self, sim: Tensor, anchors: slice, mining: PairMining | None) -> tuple[Rows, Rows]:
        """The pairs of some anchors in the layout that suits their number; may overwrite ``sim``.

        Shapes: ``sim`` (C, M). Negatives that ``mining`` cannot keep may be left out already.
        """
        pos, neg = self.masks(anchors)
        return rows_by_density(sim, pos), rows_by_density(sim, neg)

    def index_tuple(self) -> IndexTuple:
        """All pairs as indices, row by row. It holds a mask of all N × M pairs."""
        pos, neg = self.masks(slice(0, self.shape[0]))
        (a1, p), (a2, n) = pos.nonzero(as_tuple=True), neg.nonzero(as_tuple=True)
        return a1, p, a2, n
