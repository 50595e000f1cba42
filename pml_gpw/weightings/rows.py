"""The pairs of each anchor, as rows: one view, two layouts.

A weighting writes its formula once against :class:`Rows` and never asks which layout it has.
Pair values are ``(C, M)`` in the dense layout (anything off the mask is ignored) and ``(K,)`` in
the kept layout; row values are ``(C,)`` in both. C rows of a chunk, M references, K kept pairs.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

KEPT_SHARE = 0.08
"""Below this share of kept pairs the kept layout is faster than masked dense rows (2-core CPU)."""


class Rows(ABC):
    """The positive (or negative) pairs of C anchors and the reductions over each row.

    ``sim`` holds the similarities of the pairs in the layout of pair values.
    """

    sim: Tensor

    @abstractmethod
    def count(self) -> Tensor:
        """Number of pairs of each row, (C,), in the dtype of ``sim``."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """Row sums of pair values, (C,); 0 for an empty row."""

    @abstractmethod
    def max(self, values: Tensor) -> Tensor:
        """Row maxima of pair values, (C,); -inf for an empty row."""

    @abstractmethod
    def logsumexp(self, values: Tensor) -> Tensor:
        """log Σ exp over each row, (C,), without overflow; -inf for an empty row."""

    @abstractmethod
    def spread(self, row_values: Tensor) -> Tensor:
        """Row values (C,) brought back to the pairs of their rows, broadcastable to pair values."""

    @abstractmethod
    def matrix(self, values: Tensor) -> Tensor:
        """Pair values as a (C, M) matrix that is exactly 0 off the pairs."""


class DenseRows(Rows):
    """All M references of each row and a mask of those that count. ``sim``, ``mask``: (C, M)."""

    def __init__(self, sim: Tensor, mask: Tensor) -> None:
        self.sim, self.mask = sim, mask

    def count(self) -> Tensor:
        """See :class:`Rows`."""
        return self.mask.sum(dim=1).to(self.sim.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return self.matrix(values).sum(dim=1)

    def max(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return torch.where(self.mask, values, -torch.inf).amax(dim=1)

    def logsumexp(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return torch.where(self.mask, values, -torch.inf).logsumexp(dim=1)

    def spread(self, row_values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return row_values.unsqueeze(1)

    def matrix(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return torch.where(self.mask, values, 0.0)


class KeptRows(Rows):
    """Only the pairs that count. ``sim``, ``row``, ``column``: (K,); ``shape``: (C, M)."""

    def __init__(self, sim: Tensor, row: Tensor, column: Tensor, shape: tuple[int, int]) -> None:
        self.sim, self.row, self.column, self.shape = sim, row, column, shape

    @classmethod
    def of(cls, sim: Tensor, mask: Tensor) -> "KeptRows":
        """The pairs of ``sim`` (C, M) where ``mask`` (C, M) holds."""
        row, column = mask.nonzero(as_tuple=True)
        return cls(sim[row, column], row, column, (sim.shape[0], sim.shape[1]))

    def count(self) -> Tensor:
        """See :class:`Rows`."""
        return torch.bincount(self.row, minlength=self.shape[0]).to(self.sim.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return values.new_zeros(self.shape[0]).index_add(0, self.row, values)

    def max(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        lowest = values.new_full((self.shape[0],), -torch.inf)
        return lowest.scatter_reduce(0, self.row, values, "amax")

    def logsumexp(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        # The shift cancels in the value and in the gradient; 0 keeps empty rows free of inf - inf.
        shift = torch.nan_to_num(self.max(values.detach()), neginf=0.0)
        return self.sum(torch.exp(values - self.spread(shift))).log() + shift

    def spread(self, row_values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return row_values[self.row]

    def matrix(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return values.new_zeros(self.shape).index_put((self.row, self.column), values)


def rows_of(sim: Tensor, mask: Tensor) -> Rows:
    """The pairs of ``sim`` (C, M) where ``mask`` holds, in the layout that suits their number."""
    # How many are kept is known only from values, which a traced graph must not branch on.
    if torch.compiler.is_compiling() or mask.sum() > KEPT_SHARE * mask.numel():
        return DenseRows(sim, mask)
    return KeptRows.of(sim, mask)
