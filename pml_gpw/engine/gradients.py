"""The two products that turn signed pair weights into gradients of embeddings.

dX = W·Y and dY = Wᵀ·X (Y = X in self-comparison), collected chunk by chunk: weights of many pairs
as dense products, of few as sparse ones.
Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

import torch
from torch import Tensor

from ..weightings import PairWeighting, PairWeights, Rows, SparseRows
from ..weightings.base import refuse_negative_weights
from .sparse import sparse_matrix

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
        self,
        weighting: PairWeighting,
        anchors: slice,
        pos: Rows,
        neg: Rows,
        weights: PairWeights,
        scale: Tensor | None,
    ) -> None:
        """Add the weights of the pairs of a chunk of anchors, times ``scale`` (C,) where given.

        Errors: ValueError that names the ``weighting`` for weights that are negative or NaN.
        """
        if isinstance(pos, SparseRows) and isinstance(neg, SparseRows):
            refuse_negative_weights(weighting, *weights)
            self._add_sparse(anchors, pos, -weights.pos, scale)
            self._add_sparse(anchors, neg, weights.neg, scale)
            if sum(len(values) for _, _, values in self._pending) > PENDING:
                self._multiply_pending()
        else:
            self._multiply(anchors, signed_weights(weighting, pos, neg, weights), scale)

    def finish(self) -> tuple[Tensor, Tensor | None]:
        """``grad_x`` and ``grad_y`` of all that was added."""
        self._multiply_pending()
        return self.grad_x, self.grad_y

    def _add_sparse(
        self, anchors: slice, rows: SparseRows, values: Tensor, scale: Tensor | None
    ) -> None:
        values = values.expand_as(rows.sim)
        values = values if scale is None else values * scale[rows.row]
        self._pending.append((rows.row + anchors.start, rows.column, values))

    def _multiply(self, anchors: slice, signed: Tensor, scale: Tensor | None) -> None:
        if scale is not None:
            signed *= scale.unsqueeze(1)
        if self.y is self.x and len(signed) == len(self.x):
            self.grad_x.addmm_(signed + signed.T, self.x)
            return
        self.grad_x[anchors].addmm_(signed, self.y)
        if self._transposed is not None:
            self._transposed.addmm_(signed.T, self.x[anchors])

    def _multiply_pending(self) -> None:
        if not self._pending:
            return
        row, column, values = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        shape = (len(self.x), len(self.y))
        if self.y is self.x:
            row, column = torch.cat([row, column]), torch.cat([column, row])
            self.grad_x += sparse_matrix(row, column, values.repeat(2), shape) @ self.y
            return
        self.grad_x += sparse_matrix(row, column, values, shape) @ self.y
        if self.grad_y is not None:
            self.grad_y += sparse_matrix(column, row, values, shape[::-1]) @ self.x


def refuse_bad_weights(
    weighting: PairWeighting, pos: Rows, neg: Rows, weights: PairWeights
) -> None:
    """Raise a ValueError that names the weighting for weights that are negative or NaN."""
    held = (
        values if isinstance(rows, SparseRows) else rows.to_dense(values)
        for rows, values in zip((pos, neg), weights, strict=True)
    )
    refuse_negative_weights(weighting, *held)


def signed_weights(weighting: PairWeighting, pos: Rows, neg: Rows, weights: PairWeights) -> Tensor:
    """The signed weights (C, M): + for negatives and − for positives (eq 1-3).

    Errors: ValueError that names the weighting for weights that are negative or NaN.
    """
    signed = neg.to_dense(weights.neg)
    if isinstance(pos, SparseRows):  # no pair is both, so nothing is overwritten
        refuse_negative_weights(weighting, weights.pos, signed)
        signed[pos.row, pos.column] = -weights.pos
        return signed
    pos_weights = pos.to_dense(weights.pos)
    refuse_negative_weights(weighting, pos_weights, signed)
    signed -= pos_weights
    return signed
