"""Rows as lists of the pairs that count.

Shapes: C rows of a chunk, M references, K pairs that count.
"""

import torch
from torch import Tensor
from typing_extensions import override

from .dense_rows import DenseRows
from .pair_rows import NO_CONTEXT, RowContext, Rows


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
        context: RowContext | None = None,
    ) -> None:
        self.sim, self.row, self.column, self.shape = sim, row, column, shape
        self.context = NO_CONTEXT if context is None else context

    @classmethod
    def of(cls, sim: Tensor, mask: Tensor, context: RowContext | None = None) -> "SparseRows":
        """The pairs of ``sim`` (C, M) where ``mask`` (C, M) holds."""
        row, column = mask.nonzero(as_tuple=True)
        return cls(sim[row, column], row, column, (sim.shape[0], sim.shape[1]), context)

    @property
    @override
    def num_rows(self) -> int:
        return self.shape[0]

    @override
    def count(self) -> Tensor:
        return torch.bincount(self.row, minlength=self.shape[0]).to(self.sim.dtype)

    @override
    def sum(self, values: Tensor) -> Tensor:
        return self._sum_of_zeroed(values)

    @override
    def _min(self, values: Tensor) -> Tensor:
        highest = values.new_full((self.shape[0],), torch.inf)
        return highest.scatter_reduce(0, self.row, values, "amin")

    @override
    def _kth_largest(self, values: Tensor, k: int) -> Tensor:
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
    def _expanded(self, row_values: Tensor) -> Tensor:
        return row_values[self.row]

    @override
    def union(self, other: Rows) -> Rows:
        if not isinstance(other, SparseRows):
            return other.union(self)
        sim, row = torch.cat([self.sim, other.sim]), torch.cat([self.row, other.row])
        column = torch.cat([self.column, other.column])
        context = self.context
        if other.context.relevance is not context.relevance:
            grades = torch.zeros(self.shape, dtype=self.sim.dtype, device=row.device)
            for rows in (self, other):
                grades[rows.row, rows.column] = rows.relevance
            context = context._replace(relevance=grades)
        return SparseRows(sim, row, column, self.shape, context)

    @override
    def dense(self) -> DenseRows:
        mask = torch.zeros(self.shape, dtype=torch.bool, device=self.row.device)
        mask[self.row, self.column] = True
        return DenseRows(self.to_dense(self.sim), mask, self.context)

    @override
    def harmless(self) -> "SparseRows":
        return self

    @override
    def with_sim(self, sim: Tensor) -> "SparseRows":
        return SparseRows(sim, self.row, self.column, self.shape, self.context)

    @override
    def to_dense(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape).index_put_((self.row, self.column), values)

    @override
    def filter(self, keep: Tensor) -> "SparseRows":
        keep = keep.expand_as(self.sim).nonzero().squeeze(1)
        return SparseRows(
            self.sim[keep], self.row[keep], self.column[keep], self.shape, self.context
        )

    @override
    def indices(self) -> tuple[Tensor, Tensor]:
        places = (self.row * self.shape[1] + self.column).sort().values
        return places // self.shape[1], places % self.shape[1]

    @override
    def with_context(self, context: RowContext) -> "SparseRows":
        return SparseRows(self.sim, self.row, self.column, self.shape, context)

    @property
    @override
    def anchor_index(self) -> Tensor:
        return self.row + self.context.first_anchor

    @property
    @override
    def reference_index(self) -> Tensor:
        return self.column

    @override
    def _graded(self, relevance: Tensor) -> Tensor:
        return relevance[self.row, self.column]

    @override
    def _max_of_masked(self, values: Tensor) -> Tensor:
        lowest = values.new_full((self.shape[0],), -torch.inf)
        return lowest.scatter_reduce(0, self.row, values, "amax")

    @override
    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.shape[0]).index_add(0, self.row, values)
