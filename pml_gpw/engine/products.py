"""The two products that turn signed pair weights into gradients of embeddings.

dX = W·Y and dY = Wᵀ·X (Y = X in self-comparison), collected chunk by chunk: weights of many pairs
as dense products, of few as sparse ones.
Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

import warnings

import torch
from torch import Tensor

from ..weightings import PairWeights
from ..weightings.rows import KeptRows, Rows

PENDING = 2**20
"""Pairs that wait for a common sparse product, at most (and a chunk): some 50 MB."""


class GradientProducts:
    """Gradients with respect to anchors ``x`` (N, D) and references ``y`` (M, D).

    Where ``y is x``, both flow into ``grad_x``; ``grad_y`` is None there, and where the
    references need no gradient.
    """

    def __init__(self, x: Tensor, y: Tensor, needs_y: bool) -> None:
        self.x, self.y = x, y
        self.grad_x = torch.zeros_like(x)
        self.grad_y = torch.zeros_like(y) if needs_y and y is not x else None
        self._transposed = self.grad_x if y is x else self.grad_y
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(
        self, anchors: slice, pos: Rows, neg: Rows, weights: PairWeights, scale: Tensor | None
    ) -> None:
        """Weights of the pairs of a chunk of anchors, times ``scale`` (C,) where given."""
        if isinstance(pos, KeptRows) and isinstance(neg, KeptRows):
            for rows, values in ((pos, -weights.pos), (neg, weights.neg)):
                values = values.expand_as(rows.sim)
                values = values if scale is None else values * scale[rows.row]
                self._pending.append((rows.row + anchors.start, rows.column, values))
            if sum(len(values) for _, _, values in self._pending) > PENDING:
                self._multiply_pending()
        else:
            signed = neg.matrix(weights.neg)
            if isinstance(pos, KeptRows):  # no pair is both, so nothing is overwritten
                signed[pos.row, pos.column] = -weights.pos
            else:
                signed -= pos.matrix(weights.pos)
            if scale is not None:
                signed *= scale.unsqueeze(1)
            if self.y is self.x and len(signed) == len(self.x):
                self.grad_x.addmm_(signed + signed.T, self.x)
                return
            self.grad_x[anchors].addmm_(signed, self.y)
            if self._transposed is not None:
                self._transposed.addmm_(signed.T, self.x[anchors])

    def finish(self) -> tuple[Tensor, Tensor | None]:
        """``grad_x`` and ``grad_y`` of all that was added."""
        self._multiply_pending()
        return self.grad_x, self.grad_y

    def _multiply_pending(self) -> None:
        if not self._pending:
            return
        row, column, values = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        shape = (len(self.x), len(self.y))
        if self.y is self.x:
            row, column = torch.cat([row, column]), torch.cat([column, row])
            self.grad_x += _sparse(row, column, values.repeat(2), shape) @ self.y
            return
        self.grad_x += _sparse(row, column, values, shape) @ self.y
        if self.grad_y is not None:
            self.grad_y += _sparse(column, row, values, shape[::-1]) @ self.x


def _sparse(row: Tensor, column: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A CSR matrix of the entries; repeated ones add up."""
    order = row.argsort(stable=True)
    starts = torch.zeros(shape[0] + 1, dtype=row.dtype, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=shape[0]), 0, out=starts[1:])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            starts, column[order], values[order], shape, check_invariants=False
        )
