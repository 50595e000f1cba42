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
    def only(self, values: Tensor) -> Tensor:
        """Pair values with -inf wherever the layout has no pair."""

    @abstractmethod
    def spread(self, row_values: Tensor) -> Tensor:
        """Row values (C,) brought back to the pairs of their rows, broadcastable to pair values."""

    @abstractmethod
    def matrix(self, values: Tensor) -> Tensor:
        """Pair values as a (C, M) matrix that is exactly 0 off the pairs."""

    @abstractmethod
    def select(self, keep: Tensor) -> "Rows":
        """The rows with only those pairs for which ``keep`` (bool pair values) holds."""

    @abstractmethod
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Rows and columns (K,) of the pairs, row by row."""

    # The same reductions for values that are -inf, or 0, already wherever there is no pair.

    @abstractmethod
    def _max_of_only(self, values: Tensor) -> Tensor: ...

    @abstractmethod
    def _sum_of_zeroed(self, values: Tensor) -> Tensor: ...

    def logsumexp(self, values: Tensor, plus_one: bool = False) -> tuple[Tensor, Tensor]:
        """log Σ e^v of each row, (C,), and each pair's share of the sum, its derivative.

        ``plus_one`` adds a 1 to each sum: log(1 + Σ e^v). An empty row gives -inf (0 with the 1).
        The exponentials are taken once, relative to the largest: nothing overflows, and shares
        keep full precision however large the values.
        """
        values = self.only(values)
        shift = self._max_of_only(values.detach()).clamp(
            min=0.0 if plus_one else torch.finfo(values.dtype).min
        )
        exponentials = torch.exp(values - self.spread(shift))
        sums = self._sum_of_zeroed(exponentials)
        if not plus_one:
            return sums.log() + shift, exponentials / self.spread(sums)
        # log1p, because all exponentials of a row may underflow or be small beside the 1.
        result = torch.log1p(sums + torch.expm1(-shift)) + shift
        return result, exponentials / self.spread(sums + torch.exp(-shift))


class DenseRows(Rows):
    """All M references of each row and a mask of those that count. ``sim``, ``mask``: (C, M)."""

    def __init__(self, sim: Tensor, mask: Tensor) -> None:
        self.sim, self.mask = sim, mask

    def count(self) -> Tensor:
        """See :class:`Rows`."""
        return self.mask.sum(dim=1).to(self.sim.dtype)

    def sum(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return self._sum_of_zeroed(self.matrix(values))

    def max(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return self._max_of_only(self.only(values))

    def only(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return torch.where(self.mask, values, -torch.inf)

    def spread(self, row_values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return row_values.unsqueeze(1)

    def matrix(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return torch.where(self.mask, values, 0.0)

    def select(self, keep: Tensor) -> "DenseRows":
        """See :class:`Rows`."""
        return DenseRows(self.sim, self.mask & keep)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """See :class:`Rows`."""
        row, column = self.mask.nonzero(as_tuple=True)
        return row, column

    def _max_of_only(self, values: Tensor) -> Tensor:
        return values.amax(dim=1)

    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.sum(dim=1)


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
        return self._sum_of_zeroed(values)

    def max(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return self._max_of_only(values)

    def only(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return values

    def spread(self, row_values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return row_values[self.row]

    def matrix(self, values: Tensor) -> Tensor:
        """See :class:`Rows`."""
        return values.new_zeros(self.shape).index_put((self.row, self.column), values)

    def select(self, keep: Tensor) -> "KeptRows":
        """See :class:`Rows`."""
        return KeptRows(self.sim[keep], self.row[keep], self.column[keep], self.shape)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """See :class:`Rows`."""
        places = (self.row * self.shape[1] + self.column).sort().values
        return places // self.shape[1], places % self.shape[1]

    def _max_of_only(self, values: Tensor) -> Tensor:
        lowest = values.new_full((self.shape[0],), -torch.inf)
        return lowest.scatter_reduce(0, self.row, values, "amax")

    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape[0]).index_add(0, self.row, values)


def rows_of(sim: Tensor, mask: Tensor) -> Rows:
    """The pairs of ``sim`` (C, M) where ``mask`` holds, in the layout that suits their number."""
    # How many are kept is known only from values, which a traced graph must not branch on.
    if torch.compiler.is_compiling() or mask.count_nonzero() > KEPT_SHARE * mask.numel():
        return DenseRows(sim, mask)
    return KeptRows.of(sim, mask)
