"""Losses and gradients from few pairs.

Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

import torch
from torch import Tensor

from ...weightings import SparseRows
from ...weightings.base import evaluated_trained, refuse_negative_weights
from ..dense import AnchorSums
from ..growing import GrowingTensors
from ..plan import Program, Upstream, factors
from .chunks import sparse_chunks
from .matrices import sparse_matrix

#: Pairs that wait for a common product, at most (and a chunk): some 50 MB.
MOST_PENDING = 2**20


def sum_sparse(
    x: Tensor, y: Tensor, program: Program, forms: tuple[bool, bool], upstream: Upstream
) -> AnchorSums:
    """The losses of all anchors and the gradients of ``x`` (N, D) and ``y`` (M, D).

    ``upstream``: the gradients of the losses.
    """
    sums = AnchorSums.zeros(x, y, forms, program)
    index = x.new_empty(0, dtype=torch.int64)
    pending = GrowingTensors(index, index, x.new_empty(0))
    for anchors, pos, neg in sparse_chunks(x, y, program):
        trained = program.trained_at(anchors, upstream)
        *found, weights, of_trained = evaluated_trained(program.weighting, pos, neg, trained)
        some = factors(upstream, anchors, *found)
        sums.add_chunk(anchors, *found, of_trained)
        dense = None  # the signed weights of sides that are dense rows
        for sign, rows, values in ((1, neg, weights.neg), (-1, pos, weights.pos)):
            pairs = rows if isinstance(rows, SparseRows) else None
            values = rows.to_dense(values) if pairs is None else values.expand_as(rows.sim)
            if values.numel():
                refuse_negative_weights(program.weighting, values.amin())
            if not any(forms):
                continue
            if pairs is None:
                dense = values.mul_(sign) if dense is None else dense.add_(values, alpha=sign)
            elif dense is not None:  # no pair is both, so nothing is overwritten
                dense[pairs.row, pairs.column] = sign * values
            else:
                scale = sign if some is None else sign * some[pairs.row, 0]
                pending.append(pairs.row + anchors.start, pairs.column, values * scale)
        if dense is not None:
            sums.add_products(anchors, dense if some is None else dense.mul_(some), x, y)
        if len(pending) > MOST_PENDING:
            _multiply(pending, sums, x, y)
    _multiply(pending, sums, x, y)
    return sums


def _multiply(pending: GrowingTensors, sums: AnchorSums, x: Tensor, y: Tensor) -> None:
    """Add the products of the pending weights to the gradients, and forget them."""
    if len(pending) == 0:
        return
    (row, column, values), shape = pending.tensors(), (len(x), len(y))
    assert sums.grad_x is not None
    if y is x:
        row, column = torch.cat([row, column]), torch.cat([column, row])
        values = values.repeat(2)
    sums.grad_x.add_(sparse_matrix(row, column, values, shape) @ y)
    if sums.grad_y is not None:
        sums.grad_y.add_(sparse_matrix(column, row, values, shape[::-1]) @ x)
    pending.clear()
