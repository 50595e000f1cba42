"""The pairs of each anchor, as rows: one view, two layouts.

A weighting or mining rule writes its formula once against :class:`Rows` and never asks which
layout it has. Pair values are ``(C, M)`` in the dense layout (anything off the mask is ignored)
and ``(K,)`` in the sparse layout; row values are ``(C,)`` in both. C rows of a chunk, M references,
K pairs that count.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self, override

from .counter_uniform import counter_uniform

SPARSE_DENSITY = 0.08
"""Below this density the sparse layout is faster than masked dense rows (2-core CPU)."""


class Origin(NamedTuple):
    """Where rows come from: what a rule may ask about them beside their similarities."""

    first_anchor: int = 0
    """The number of the first row in its batch."""
    key: Tensor | None = None
    """() int64, the random key of a call, where a rule draws random numbers."""
    self_index: Tensor | None = None
    """(C,) the column of each anchor itself among the references, −1 where it is not there."""

    def at(self, rows: slice) -> "Origin":
        """The origin of some of the rows."""
        self_index = None if self.self_index is None else self.self_index[rows]
        return Origin(self.first_anchor + rows.start, self.key, self_index)


WHOLE = Origin()
"""The origin of rows that are a whole batch, of which nothing else is known."""


class Rows(ABC):
    """The positive (or negative) pairs of C anchors, and the reductions over each row.

    ``sim`` holds the similarities of the pairs in the layout of pair values.

    >>> import torch
    >>> mask = torch.tensor([[True, False, True]])
    >>> rows = DenseRows(torch.tensor([[0.5, 0.9, -0.5]]), mask)
    >>> rows.count(), rows.sum(rows.sim), rows.max(rows.sim)
    (tensor([2.]), tensor([0.]), tensor([0.5000]))
    """

    sim: Tensor
    origin: Origin

    @abstractmethod
    def count(self) -> Tensor:
        """The number of pairs of each row, (C,), in the dtype of ``sim``."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """The row sums of pair values, (C,); 0 for an empty row."""

    @abstractmethod
    def max(self, values: Tensor) -> Tensor:
        """The row maxima of pair values, (C,); -inf for an empty row."""

    @abstractmethod
    def kth_largest(self, values: Tensor, k: int) -> Tensor:
        """The k-th largest pair value of each row, (C,); -inf for a row of fewer pairs."""

    @abstractmethod
    def first(self, mask: Tensor, count: Tensor | int = 1) -> Tensor:
        """The pairs of the lowest columns of each row among those in ``mask``, as a mask.

        ``count``: how many of each row, a number or row values.
        """

    @abstractmethod
    def masked(self, values: Tensor) -> Tensor:
        """The pair values, with -inf wherever the layout has no pair."""

    @abstractmethod
    def expand(self, row_values: Tensor) -> Tensor:
        """Row values (C,) brought back to the pairs of their rows, broadcastable to pair values."""

    @abstractmethod
    def to_dense(self, values: Tensor) -> Tensor:
        """The pair values as a (C, M) matrix that is exactly 0 off the pairs."""

    @abstractmethod
    def filter(self, keep: Tensor) -> "Rows":
        """The rows with only those pairs for which ``keep`` (bool pair values) holds."""

    @abstractmethod
    def indices(self) -> tuple[Tensor, Tensor]:
        """The rows and columns (K,) of the pairs, row by row."""

    @abstractmethod
    def with_origin(self, origin: Origin) -> Self:
        """The same rows, said to come from ``origin``."""

    @property
    @abstractmethod
    def anchor_index(self) -> Tensor:
        """The number of each pair's anchor in its batch, broadcastable to pair values."""

    @property
    @abstractmethod
    def reference_index(self) -> Tensor:
        """The column of each pair's reference, broadcastable to pair values."""

    def uniform(self, salt: int) -> Tensor:
        """Uniform random numbers in (0, 1), as pair values.

        They depend on the key of the call, ``salt``, anchor and reference alone, so that chunks,
        layouts and processes draw alike, while one call differs from the next.
        Errors: RuntimeError where the rule that asks does not say ``is_random = True``.
        """
        if self.origin.key is None:
            raise RuntimeError(
                "uniform needs the random key of a call, which is drawn for a mining that says "
                "`is_random: ClassVar[bool] = True`"
            )
        return counter_uniform(
            self.origin.key, salt, self.anchor_index, self.reference_index, self.sim.dtype
        )

    def has_self_pair(self) -> Tensor:
        """Whether each anchor is itself among the references, (C,): a pair that is not in rows."""
        if self.origin.self_index is None:
            return torch.zeros_like(self.count(), dtype=torch.bool)
        return self.origin.self_index >= 0

    def spread(self, row_values: Tensor) -> Tensor:
        """The former name of :meth:`expand`."""
        return self.expand(row_values)

    # The same reductions for values that are -inf, or 0, already wherever there is no pair.

    @abstractmethod
    def _max_of_masked(self, values: Tensor) -> Tensor: ...

    @abstractmethod
    def _sum_of_zeroed(self, values: Tensor) -> Tensor: ...

    def logsumexp(self, values: Tensor, plus_one: bool = False) -> tuple[Tensor, Tensor]:
        """log Σ e^v of each row, (C,), and each pair's share of the sum, its derivative.

        ``plus_one`` adds a 1 to each sum: log(1 + Σ e^v). An empty row gives -inf (0 with the 1).
        The exponentials are taken once, relative to the largest: nothing overflows, and shares
        keep full precision however large the values.
        """
        values = self.masked(values)
        shift = self._max_of_masked(values.detach()).clamp(
            min=0.0 if plus_one else torch.finfo(values.dtype).min
        )
        exponentials = torch.exp(values - self.expand(shift))
        sums = self._sum_of_zeroed(exponentials)
        if not plus_one:
            return sums.log() + shift, exponentials / self.expand(sums)
        # log1p, because all exponentials of a row may underflow or be small beside the 1.
        result = torch.log1p(sums + torch.expm1(-shift)) + shift
        return result, exponentials / self.expand(sums + torch.exp(-shift))


class DenseRows(Rows):
    """All M references of each row and a mask of those that count. ``sim``, ``mask``: (C, M).

    >>> import torch
    >>> rows = DenseRows(torch.eye(2), torch.tensor([[False, True], [True, False]]))
    >>> rows.to_dense(rows.sim + 3)
    tensor([[0., 3.],
            [3., 0.]])
    """

    def __init__(self, sim: Tensor, mask: Tensor, origin: Origin = WHOLE) -> None:
        self.sim, self.mask, self.origin = sim, mask, origin

    @override
    def count(self) -> Tensor:
        return self.mask.sum(dim=1).to(self.sim.dtype)

    @override
    def sum(self, values: Tensor) -> Tensor:
        return self._sum_of_zeroed(self.to_dense(values))

    @override
    def max(self, values: Tensor) -> Tensor:
        return self._max_of_masked(self.masked(values))

    @override
    def kth_largest(self, values: Tensor, k: int) -> Tensor:
        if k > self.mask.shape[1]:
            return values.new_full((len(self.mask),), -torch.inf)
        return self.masked(values).topk(k, dim=1).values[:, -1]

    @override
    def first(self, mask: Tensor, count: Tensor | int = 1) -> Tensor:
        mask = mask & self.mask
        most = count if isinstance(count, int) else count.unsqueeze(1)
        return mask & (mask.cumsum(dim=1) <= most)

    @override
    def masked(self, values: Tensor) -> Tensor:
        return torch.where(self.mask, values, -torch.inf)

    @override
    def expand(self, row_values: Tensor) -> Tensor:
        return row_values.unsqueeze(1)

    @override
    def to_dense(self, values: Tensor) -> Tensor:
        return torch.where(self.mask, values, 0.0)

    @override
    def filter(self, keep: Tensor) -> "DenseRows":
        return DenseRows(self.sim, self.mask & keep, self.origin)

    @override
    def indices(self) -> tuple[Tensor, Tensor]:
        row, column = self.mask.nonzero(as_tuple=True)
        return row, column

    @override
    def with_origin(self, origin: Origin) -> "DenseRows":
        return DenseRows(self.sim, self.mask, origin)

    @property
    @override
    def anchor_index(self) -> Tensor:
        row = torch.arange(len(self.mask), device=self.mask.device)
        return (row + self.origin.first_anchor).unsqueeze(1)

    @property
    @override
    def reference_index(self) -> Tensor:
        return torch.arange(self.mask.shape[1], device=self.mask.device).unsqueeze(0)

    @override
    def _max_of_masked(self, values: Tensor) -> Tensor:
        if values.shape[1] == 0:  # amax knows no maximum of nothing
            return values.new_full((len(values),), -torch.inf)
        return values.amax(dim=1)

    @override
    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.sum(dim=1)


class SparseRows(Rows):
    """Only the pairs that count. ``sim``, ``row``, ``column``: (K,); ``shape``: (C, M).

    >>> import torch
    >>> row, column = torch.tensor([0, 0]), torch.tensor([1, 2])
    >>> rows = SparseRows(torch.tensor([0.5, 0.2]), row, column, (2, 3))
    >>> rows.max(rows.sim)
    tensor([0.5000,   -inf])
    """

    def __init__(
        self,
        sim: Tensor,
        row: Tensor,
        column: Tensor,
        shape: tuple[int, int],
        origin: Origin = WHOLE,
    ) -> None:
        self.sim, self.row, self.column, self.shape = sim, row, column, shape
        self.origin = origin

    @classmethod
    def of(cls, sim: Tensor, mask: Tensor) -> "SparseRows":
        """The pairs of ``sim`` (C, M) where ``mask`` (C, M) holds."""
        row, column = mask.nonzero(as_tuple=True)
        return cls(sim[row, column], row, column, (sim.shape[0], sim.shape[1]))

    @override
    def count(self) -> Tensor:
        return torch.bincount(self.row, minlength=self.shape[0]).to(self.sim.dtype)

    @override
    def sum(self, values: Tensor) -> Tensor:
        return self._sum_of_zeroed(values)

    @override
    def max(self, values: Tensor) -> Tensor:
        return self._max_of_masked(values)

    @override
    def kth_largest(self, values: Tensor, k: int) -> Tensor:
        falling = values.argsort(descending=True)
        falling = falling[self.row[falling].argsort(stable=True)]
        count = torch.bincount(self.row, minlength=self.shape[0])
        place = (count.cumsum(0) - count + k - 1).clamp(max=max(len(values) - 1, 0))
        if len(values) == 0:
            return values.new_full((self.shape[0],), -torch.inf)
        return torch.where(count >= k, values[falling[place]], -torch.inf)

    @override
    def first(self, mask: Tensor, count: Tensor | int = 1) -> Tensor:
        asked = mask.expand_as(self.sim).nonzero().squeeze(1)
        rising = asked[(self.row * self.shape[1] + self.column)[asked].argsort()]
        row = self.row[rising]
        number = torch.bincount(row, minlength=self.shape[0])
        rank = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number)[row]
        most = count if isinstance(count, int) else count[row]
        keep = torch.zeros(len(self.sim), dtype=torch.bool, device=row.device)
        keep[rising[rank < most]] = True
        return keep

    @override
    def masked(self, values: Tensor) -> Tensor:
        return values

    @override
    def expand(self, row_values: Tensor) -> Tensor:
        return row_values[self.row]

    @override
    def to_dense(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape).index_put((self.row, self.column), values)

    @override
    def filter(self, keep: Tensor) -> "SparseRows":
        keep = keep.expand_as(self.sim)
        return SparseRows(
            self.sim[keep], self.row[keep], self.column[keep], self.shape, self.origin
        )

    @override
    def indices(self) -> tuple[Tensor, Tensor]:
        places = (self.row * self.shape[1] + self.column).sort().values
        return places // self.shape[1], places % self.shape[1]

    @override
    def with_origin(self, origin: Origin) -> "SparseRows":
        return SparseRows(self.sim, self.row, self.column, self.shape, origin)

    @property
    @override
    def anchor_index(self) -> Tensor:
        return self.row + self.origin.first_anchor

    @property
    @override
    def reference_index(self) -> Tensor:
        return self.column

    @override
    def _max_of_masked(self, values: Tensor) -> Tensor:
        lowest = values.new_full((self.shape[0],), -torch.inf)
        return lowest.scatter_reduce(0, self.row, values, "amax")

    @override
    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape[0]).index_add(0, self.row, values)


def rows_by_density(sim: Tensor, mask: Tensor) -> Rows:
    """The pairs of ``sim`` (C, M) where ``mask`` holds, in the layout that suits their number."""
    # How many are kept is known only from values, which a traced graph must not branch on.
    if torch.compiler.is_compiling() or mask.count_nonzero() > SPARSE_DENSITY * mask.numel():
        return DenseRows(sim, mask)
    return SparseRows.of(sim, mask)
