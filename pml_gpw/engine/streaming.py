"""Losses and exact gradients from embeddings, in chunks of anchors rather than from an N×M matrix.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..precision import full_precision
from ..value_checks import may_look, raise_arrived
from ..weightings import PairWeighting
from ..weightings.base import refuse_negative_weight
from .chunks import StreamedBatch
from .double_backward import ForbidDoubleBackward
from .fused_batch import fused_batch
from .gradients import GradientProducts
from .pairs import Pairs
from .unit_rows import UnitRows, normalized
from .weighed_chunks import weighed_chunks


def streamed_losses(
    streamed: StreamedBatch, weighting: PairWeighting, uniform_upstream: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-anchor losses (N,) of inner products, and the numbers of pairs weighed, (N,) each.

    Gradients of anchors (N, D) and references (M, D) are W·y and Wᵀ·x with the signed pair weights
    W (eq 1-3), taken through the normalisation where there is one. ``uniform_upstream``: whether
    all anchors will have the same upstream gradient; the gradients are then formed in forward, else
    backward goes through the chunks again.
    Errors: RuntimeError on double backward, and for labels that were changed in place before
    backward looks at them again; ValueError that names the weighting for weights that
    are negative or NaN.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs, StreamedBatch
    >>> from pml_gpw.weightings import Constant
    >>> x, labels = torch.eye(3, requires_grad=True), torch.tensor([0, 0, 1])
    >>> streamed = StreamedBatch(x, x, LabelPairs(labels, labels, torch.arange(3)))
    >>> losses, num_pos, num_neg = streamed_losses(streamed, Constant(), uniform_upstream=True)
    >>> losses.sum().backward()
    >>> x.grad[0]
    tensor([ 0., -2.,  2.])
    """
    x, other = streamed.x, None if streamed.y is streamed.x else streamed.y
    if not torch.is_grad_enabled():  # no gradient is formed for what asks for none
        x, other = x.detach(), None if other is None else other.detach()
        streamed = streamed.of(x, x if other is None else other, streamed.normalized)
    with full_precision(x):
        return _StreamedLosses.apply(x, other, streamed, weighting, uniform_upstream)


class _StreamedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        other: Tensor | None,
        streamed: StreamedBatch,
        weighting: PairWeighting,
        uniform_upstream: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_x, needs_y = ctx.needs_input_grad[:2]
        forms_gradients = uniform_upstream and (needs_x or needs_y)
        found = _found_as_a_whole(streamed, weighting) if forms_gradients else None
        if found is None:
            found = _found_in_chunks(streamed, weighting, forms_gradients, needs_y)
        if needs_x or needs_y:
            same = found.factors.y is found.factors.x
            y = (None, None, None) if same else found.factors.y
            link = x if needs_x else other
            ctx.save_for_backward(link, found.grad_x, found.grad_y, *found.factors.x, *y)
            # Without the embeddings, which would hold the graph.
            nothing = x.new_empty(0)
            ctx.kept = streamed.of(nothing, nothing), weighting
            ctx.versions = _versions(streamed.pairs)
        ctx.uniform_upstream = uniform_upstream
        ctx.mark_non_differentiable(found.num_pos, found.num_neg)
        ctx.set_materialize_grads(False)
        return found.losses, found.num_pos, found.num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        raise_arrived()
        nothing = (None,) * 3
        if upstream is None:
            return None, None, *nothing
        link, grad_x, grad_y, *rows = ctx.saved_tensors
        streamed, weighting = ctx.kept
        if ctx.uniform_upstream and _is_uniform(upstream):
            scale = upstream[0] if len(upstream) else 0.0
            grad_x, grad_y = grad_x * scale, None if grad_y is None else grad_y * scale
        else:
            if _versions(streamed.pairs) != ctx.versions:
                raise RuntimeError("labels or pairs were changed in place before backward")
            x = UnitRows(*rows[:3])
            factors = _Factors(x, x if rows[3] is None else UnitRows(*rows[3:]))
            # Whoever calls backward may do so under autocast, or with create_graph.
            with torch.no_grad(), full_precision(upstream):
                products = GradientProducts(x.rows, factors.y.rows, ctx.needs_input_grad[1])
                for chunk in weighed_chunks(factors.streamed(streamed), weighting, True):
                    chunk.add_to(products, upstream[chunk.anchors])
                grad_x, grad_y = factors.gradients(products)
        if torch.is_grad_enabled():  # create_graph=True
            grad_x = ForbidDoubleBackward.apply(grad_x, link)
            grad_y = None if grad_y is None else ForbidDoubleBackward.apply(grad_y, link)
        return grad_x, grad_y, *nothing


class _Factors(NamedTuple):
    """What is multiplied, and how gradients of it become those of the embeddings."""

    x: UnitRows
    y: UnitRows

    @classmethod
    def of(cls, streamed: StreamedBatch) -> "_Factors":
        rows = normalized if streamed.normalized else UnitRows
        x = rows(streamed.x)
        return cls(x, x if streamed.y is streamed.x else rows(streamed.y))

    def streamed(self, streamed: StreamedBatch) -> StreamedBatch:
        """The same pairs of these rows."""
        return streamed.of(self.x.rows, self.y.rows)

    def gradients(self, products: GradientProducts) -> tuple[Tensor, Tensor | None]:
        """The gradients of the embeddings from what was collected for the rows."""
        grad_x, grad_y = products.finish()
        return self.x.gradient(grad_x), None if grad_y is None else self.y.gradient(grad_y)


class _Found(NamedTuple):
    """What a forward pass comes to."""

    losses: Tensor  # (N,)
    num_pos: Tensor  # (N,)
    num_neg: Tensor  # (N,)
    factors: _Factors
    grad_x: Tensor | None = None  # (N, D)
    grad_y: Tensor | None = None  # (M, D)


def _found_as_a_whole(streamed: StreamedBatch, weighting: PairWeighting) -> _Found | None:
    batch = fused_batch(streamed, weighting)
    if batch is None:
        return None
    refuse_negative_weight(weighting, batch.least)
    factors = _Factors(batch.unit_rows, batch.unit_rows)
    return _Found(batch.losses, batch.num_pos, batch.num_neg, factors, batch.gradient)


def _found_in_chunks(
    streamed: StreamedBatch, weighting: PairWeighting, forms_gradients: bool, needs_y: bool
) -> _Found:
    factors = _Factors.of(streamed)
    products = None
    if forms_gradients:
        products = GradientProducts(factors.x.rows, factors.y.rows, needs_y)
    parts = []
    for chunk in weighed_chunks(factors.streamed(streamed), weighting, forms_gradients):
        parts.append((chunk.losses, chunk.num_pos, chunk.num_neg))
        if products is None:
            chunk.refuse_bad_weights()
        else:
            chunk.add_to(products, scale=None)
    gradients = (None, None) if products is None else factors.gradients(products)
    return _Found(*_joined(parts, streamed.x), factors, *gradients)


def _joined(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]], x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The values of all chunks, (N,) each; a chunk alone is not copied."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return x.new_empty(0), x.new_empty(0), x.new_empty(0)
    losses, num_pos, num_neg = (torch.cat(each) for each in zip(*parts, strict=True))
    return losses, num_pos, num_neg


def _versions(pairs: Pairs) -> list[int]:
    """How often each tensor of the pairs was changed in place."""
    tensors = [value for value in vars(pairs).values() if isinstance(value, Tensor)]
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _is_uniform(upstream: Tensor) -> bool:
    """Whether upstream gradients are equal, as was said; looked at where that does not wait."""
    if not may_look(upstream) or len(upstream) < 2:
        return True
    least, most = upstream.aminmax()
    return float(least) == float(most)
