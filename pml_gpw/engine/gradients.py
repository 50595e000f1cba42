"""The two products that turn signed pair weights into gradients of embeddings.

dX = W·Y and dY = Wᵀ·X (Y = X in self-comparison), collected chunk by chunk: weights of many pairs
as dense products, of few as sparse ones.
Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

import torch
from torch import Tensor

from ..value_checks import may_look
from ..weightings import PairWeighting, PairWeights, Rows, SparseRows
from ..weightings.base import refuse_negative_weights
from .sparse import sparse_matrix

PENDING = 2**20
"""Pairs that wait for a common sparse product, at most (and a chunk): some 50 MB."""


class GradientProducts:
    """Gradients with respect to anchors ``x`` (N, D) and references ``y`` (M, D).

    Where ``y is x``, both flow into the gradient of ``x``; there is none of ``y`` there, and where
    the references need no gradient.
    """

    def __init__(self, x: Tensor, y: Tensor, needs_y: bool) -> None:
        self.x, self.y = x, y
        self._needs_y = needs_y and y is not x
        self._grad_x: Tensor | None = None
        self._grad_y: Tensor | None = None
        self._held: Tensor | None = None
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def hold(self, signed: Tensor) -> None:
        """Take the signed weights (N, N) of all anchors, complete when ``finish`` is called.

        Where ``y is x``; they are overwritten.
        """
        self._held = signed

    def add_rows(
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
            self.add(anchors, signed_weights(weighting, pos, neg, weights), scale)

    def add(self, anchors: slice, signed: Tensor, scale: Tensor | None) -> None:
        """Add the signed weights (C, M) of a chunk of anchors, times ``scale`` (C,) where given.

        They may be overwritten.
        """
        if scale is not None:
            signed *= scale.unsqueeze(1)
        if len(signed) == len(self.x) and self._grad_x is None:
            if self._needs_y:
                self._grad_y = signed.T @ self.x
            self._grad_x = (symmetrized(signed) if self.y is self.x else signed) @ self.y
            return
        grad_x, grad_y = self._sums()
        grad_x[anchors].addmm_(signed, self.y)
        if grad_y is not None:
            grad_y.addmm_(signed.T, self.x[anchors])

    def finish(self) -> tuple[Tensor, Tensor | None]:
        """The gradients of ``x`` and of ``y`` of all that was added."""
        self._multiply_pending()
        if self._held is not None:
            return symmetrized(self._held) @ self.x, None
        grad_x, _ = self._sums()
        return grad_x, self._grad_y

    def _sums(self) -> tuple[Tensor, Tensor | None]:
        """What chunks are added to, of the anchors as such and as references."""
        if self._grad_x is None:
            self._grad_x = torch.zeros_like(self.x)
            self._grad_y = torch.zeros_like(self.y) if self._needs_y else None
        return self._grad_x, self._grad_x if self.y is self.x else self._grad_y

    def _add_sparse(
        self, anchors: slice, rows: SparseRows, values: Tensor, scale: Tensor | None
    ) -> None:
        values = values.expand_as(rows.sim)
        values = values if scale is None else values * scale[rows.row]
        self._pending.append((rows.row + anchors.start, rows.column, values))

    def _multiply_pending(self) -> None:
        if not self._pending:
            return
        row, column, values = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        shape = (len(self.x), len(self.y))
        grad_x, grad_y = self._sums()
        if self.y is self.x:
            row, column = torch.cat([row, column]), torch.cat([column, row])
            grad_x += sparse_matrix(row, column, values.repeat(2), shape) @ self.y
            return
        grad_x += sparse_matrix(row, column, values, shape) @ self.y
        if grad_y is not None:
            grad_y += sparse_matrix(column, row, values, shape[::-1]) @ self.x


TILE = 512
"""Rows and columns of a part of a matrix that is transposed within a cache."""


def symmetrized(matrix: Tensor) -> Tensor:
    """``matrix`` + its transpose, (N, N); a matrix of more than one tile is overwritten."""
    n = len(matrix)
    if n <= TILE or not may_look(matrix):  # in one operation on accelerators
        return matrix + matrix.T
    for row in range(0, n, TILE):
        rows = slice(row, row + TILE)
        for column in range(row, n, TILE):
            columns = slice(column, column + TILE)
            both = matrix[rows, columns] + matrix[columns, rows].T
            matrix[rows, columns] = both
            if column > row:
                matrix[columns, rows] = both.T
    return matrix


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
