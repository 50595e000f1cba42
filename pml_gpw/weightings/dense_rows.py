"""Rows as masked matrices.

Shapes: C rows of a chunk, M references, K pairs that count.
"""

import torch
from torch import Tensor
from typing_extensions import override

from .pair_rows import NO_CONTEXT, RowContext, Rows

FILLS = {
    (value, dtype): torch.tensor(value, dtype=dtype, device="cpu")
    for value in (0.0, torch.inf, -torch.inf)
    for dtype in (torch.float32, torch.float64)
}


class DenseRows(Rows):
    """All M references of each row and a mask of those that count. ``sim``, ``mask``: (C, M).

    >>> import torch
    >>> rows = DenseRows(torch.eye(2), torch.tensor([[False, True], [True, False]]))
    >>> rows.to_dense(rows.sim + 3)
    tensor([[0., 3.],
            [3., 0.]])
    """

    def __init__(self, sim: Tensor, mask: Tensor, context: RowContext | None = None) -> None:
        self.sim, self.mask = sim, mask
        self.context = NO_CONTEXT if context is None else context
        self._off_mask: Tensor | None = None

    @property
    @override
    def num_rows(self) -> int:
        return self.mask.shape[0]

    @override
    def count(self) -> Tensor:
        return self.mask.sum(dim=1, dtype=self.sim.dtype)

    @override
    def sum(self, values: Tensor) -> Tensor:
        return self._sum_of_zeroed(self.to_dense(values))

    @override
    def _min(self, values: Tensor) -> Tensor:
        if values.shape[1] == 0:
            return values.new_full((values.shape[0],), torch.inf)
        return self._filled(values, torch.inf).amin(dim=1)

    @override
    def _kth_largest(self, values: Tensor, k: int) -> Tensor:
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
        return self._filled(values, -torch.inf)

    @override
    def _expanded(self, row_values: Tensor) -> Tensor:
        return row_values.unsqueeze(1)

    @override
    def union(self, other: Rows) -> "DenseRows":
        both = other.dense()
        assert isinstance(both, DenseRows)
        sim = torch.where(self.mask, self.sim, both.sim)
        context = self.context
        if both.context.relevance is not context.relevance:
            grades = torch.where(self.mask, self.relevance, both.relevance)
            context = context._replace(relevance=grades)
        return DenseRows(sim, self.mask | both.mask, context)

    @override
    def dense(self) -> "DenseRows":
        return self

    @override
    def harmless(self) -> "DenseRows":
        largest = self.max(self.sim).unsqueeze(1)
        fill = torch.where(largest.isfinite(), largest, 0.0)
        return self.with_sim(torch.where(self.mask, self.sim, fill))

    @override
    def with_sim(self, sim: Tensor) -> "DenseRows":
        return DenseRows(sim, self.mask, self.context)

    @override
    def to_dense(self, values: Tensor) -> Tensor:
        return self._filled(values, 0.0)

    @override
    def filter(self, keep: Tensor) -> "DenseRows":
        return DenseRows(self.sim, self.mask & keep, self.context)

    @override
    def indices(self) -> tuple[Tensor, Tensor]:
        row, column = self.mask.nonzero(as_tuple=True)
        return row, column

    @override
    def with_context(self, context: RowContext) -> "DenseRows":
        return DenseRows(self.sim, self.mask, context)

    @property
    @override
    def anchor_index(self) -> Tensor:
        row = torch.arange(len(self.mask), device=self.mask.device)
        return (row + self.context.first_anchor).unsqueeze(1)

    @property
    @override
    def reference_index(self) -> Tensor:
        return torch.arange(self.mask.shape[1], device=self.mask.device).unsqueeze(0)

    def _filled(self, values: Tensor, value: float) -> Tensor:
        """The values, with another one off the mask."""
        if not values.is_floating_point():
            values = values.to(self.sim.dtype)
        if values.is_cpu and not torch.compiler.is_compiling():
            # A tensor that is there already: to make one of the number takes as long as the rest.
            fill = FILLS.get((value, values.dtype))
            if fill is not None:
                return torch.where(self.mask, values, fill)
        if self._off_mask is None:
            self._off_mask = ~self.mask
        return values.masked_fill(self._off_mask, value)

    @override
    def _taken(self, values: Tensor, found: Tensor) -> Tensor:
        if not values.requires_grad or values.shape[1] == 0:
            return found
        equal = (values.detach() == found.unsqueeze(1)) & self.mask
        first = equal.byte().argmax(dim=1, keepdim=True)  # of equal values the first
        return torch.where(found.isfinite(), values.gather(1, first).squeeze(1), found)

    @override
    def _graded(self, relevance: Tensor) -> Tensor:
        return relevance

    @override
    def _max_of_masked(self, values: Tensor) -> Tensor:
        if values.shape[1] == 0:  # amax knows no maximum of nothing
            return values.new_full((len(values),), -torch.inf)
        return values.amax(dim=1)

    @override
    def _sum_of_zeroed(self, values: Tensor) -> Tensor:
        return values.sum(dim=1)
