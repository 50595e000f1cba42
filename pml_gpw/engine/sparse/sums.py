"""Losses and gradients from few pairs.

Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

import torch
from torch import Tensor

from ...weightings import PairWeighting, PairWeights, Rows, SparseRows
from ...weightings.base import evaluated, refuse_negative_weights
from ..growing import GrowingTensors
from ..program import AnchorSums, Program
from .chunks import sparse_chunks
from .matrices import sparse_matrix

MOST_PENDING = 2**20
"""Pairs that wait for a common product, at most (and a chunk): some 50 MB."""


def sum_sparse(
    x: Tensor,
    y: Tensor,
    program: Program,
    forms_gradients: tuple[bool, bool],
    upstream: Tensor | None,
) -> AnchorSums:
    """The losses of all anchors and the gradients of ``x`` (N, D) and ``y`` (M, D).

    ``upstream`` (N,): the factors of the losses in the gradients; None: 1.
    """
    sums = AnchorSums.zeros(x, y, forms_gradients)
    index = x.new_empty(0, dtype=torch.int64)
    pending = GrowingTensors(index, index, x.new_empty(0))
    for anchors, pos, neg in sparse_chunks(x, y, program):
        losses, weights = evaluated(program.weighting, pos, neg)
        sums.set_losses(anchors, losses, pos.count(), neg.count())
        scale = None if upstream is None else upstream[anchors]
        if isinstance(pos, SparseRows) and isinstance(neg, SparseRows):
            _refuse_negative(program.weighting, *weights)
            if any(forms_gradients):
                _append(pending, anchors, pos, -weights.pos, scale)
                _append(pending, anchors, neg, weights.neg, scale)
            if len(pending) > MOST_PENDING:
                _multiply(pending, sums, x, y)
            continue
        signed = _signed_weights(program.weighting, pos, neg, weights)
        if any(forms_gradients):
            sums.add_products(
                anchors, signed if scale is None else signed.mul_(scale.unsqueeze(1)), x, y
            )
    _multiply(pending, sums, x, y)
    return sums


def _append(
    pending: GrowingTensors, anchors: slice, rows: SparseRows, values: Tensor, scale: Tensor | None
) -> None:
    values = values.expand_as(rows.sim)
    values = values if scale is None else values * scale[rows.row]
    pending.append(rows.row + anchors.start, rows.column, values)


def _multiply(pending: GrowingTensors, sums: AnchorSums, x: Tensor, y: Tensor) -> None:
    """Add the products of the pending weights to the gradients, and forget them."""
    if len(pending) == 0:
        return
    row, column, values = pending.tensors()
    assert sums.grad_x is not None
    shape = len(x), len(y)
    if y is x:
        row, column = torch.cat([row, column]), torch.cat([column, row])
        values = values.repeat(2)
    sums.grad_x.add_(sparse_matrix(row, column, values, shape) @ y)
    if sums.grad_y is not None:
        sums.grad_y.add_(sparse_matrix(column, row, values, shape[::-1]) @ x)
    pending.clear()


def _signed_weights(weighting: PairWeighting, pos: Rows, neg: Rows, weights: PairWeights) -> Tensor:
    """The signed weights (C, M): + for negatives and − for positives (eq 1-3)."""
    signed = neg.to_dense(weights.neg)
    if isinstance(pos, SparseRows):  # no pair is both, so nothing is overwritten
        _refuse_negative(weighting, weights.pos, signed)
        signed[pos.row, pos.column] = -weights.pos
        return signed
    pos_weights = pos.to_dense(weights.pos)
    _refuse_negative(weighting, pos_weights, signed)
    return signed.sub_(pos_weights)


def _refuse_negative(weighting: PairWeighting, *weights: Tensor) -> None:
    refuse_negative_weights(weighting, *(each.amin() for each in weights if each.numel()))
