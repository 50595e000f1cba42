"""Losses and exact gradients from embeddings, in chunks of anchors: no N×M matrix is ever held.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..weightings import PairWeighting
from ..weightings.base import weigh
from .chunks import StreamedBatch, iter_chunks
from .double_backward import ForbidDoubleBackward
from .gradients import GradientProducts, refuse_bad_weights
from .pairs import Pairs


def streamed_losses(
    streamed: StreamedBatch, weighting: PairWeighting, uniform_upstream: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-anchor losses (N,) of inner products, and the numbers of pairs weighed, (N,) each.

    Gradients of anchors (N, D) and references (M, D) are W·y and Wᵀ·x with the signed pair weights
    W (eq 1-3). ``uniform_upstream``: whether all anchors will have the same upstream gradient; the
    gradients are then formed in forward, else backward goes through the chunks again.
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
        streamed = replace(streamed, x=x, y=x if other is None else other)
    return _StreamedLosses.apply(x, other, x[:1].clone(), streamed, weighting, uniform_upstream)


class _StreamedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        other: Tensor | None,
        link: Tensor,
        streamed: StreamedBatch,
        weighting: PairWeighting,
        uniform_upstream: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_x, needs_y = ctx.needs_input_grad[:2]
        forms_gradients = uniform_upstream and (needs_x or needs_y)
        products = GradientProducts(streamed.x, streamed.y, needs_y) if forms_gradients else None
        parts = []
        for anchors, pos, neg in iter_chunks(streamed, weighting.needs_dense):
            losses, weights = weigh(weighting, pos, neg)
            parts.append((losses, pos.count(), neg.count()))
            if products is None:
                refuse_bad_weights(weighting, pos, neg, weights)
            else:
                products.add(weighting, anchors, pos, neg, weights, scale=None)
        if needs_x or needs_y:
            formed = (None, None) if products is None else products.finish()
            ctx.save_for_backward(link, x, other, *formed)
            # Without the embeddings, which would hold the graph.
            ctx.kept, ctx.weighting = (
                (streamed.pairs, streamed.mining, streamed.origin, streamed.plan),
                weighting,
            )
            ctx.versions = versions(streamed.pairs)
        ctx.uniform_upstream = uniform_upstream
        losses, num_pos, num_neg = _joined(parts, x)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return losses, num_pos, num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        link, x, other, grad_x, grad_y = ctx.saved_tensors
        if ctx.uniform_upstream and _is_uniform(upstream):
            scale = upstream[:1].sum()  # of no anchors 0
            grad_x, grad_y = grad_x * scale, None if grad_y is None else grad_y * scale
        else:
            if versions(ctx.kept[0]) != ctx.versions:
                raise RuntimeError("labels or pairs were changed in place before backward")
            streamed = StreamedBatch(x, x if other is None else other, *ctx.kept)
            # Whoever calls backward may do so under autocast, or with create_graph.
            with torch.no_grad(), torch.autocast(upstream.device.type, enabled=False):
                grad_x, grad_y = _gradients(
                    streamed, ctx.weighting, upstream, ctx.needs_input_grad[1]
                )
        if torch.is_grad_enabled():  # create_graph=True
            grad_x = ForbidDoubleBackward.apply(grad_x, link)
            grad_y = None if grad_y is None else ForbidDoubleBackward.apply(grad_y, link)
        return grad_x, grad_y, None, None, None, None


def _joined(parts: Sequence[tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    """The values of all chunks, (N,) each; a chunk alone is not copied."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return x.new_empty(0), x.new_empty(0), x.new_empty(0)
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


def versions(pairs: Pairs) -> list[int]:
    """How often each tensor of the pairs was changed in place."""
    tensors = [value for value in vars(pairs).values() if isinstance(value, Tensor)]
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _is_uniform(upstream: Tensor) -> bool:
    """Whether upstream gradients are equal, as was said; looked at on a CPU only."""
    return upstream.device.type != "cpu" or bool((upstream == upstream[:1]).all())


def _gradients(
    streamed: StreamedBatch, weighting: PairWeighting, upstream: Tensor, needs_y: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients for upstream gradients (N,) of the anchors, from a streamed of their own."""
    products = GradientProducts(streamed.x, streamed.y, needs_y)
    for anchors, pos, neg in iter_chunks(streamed, weighting.needs_dense):
        _, weights = weigh(weighting, pos, neg)
        products.add(weighting, anchors, pos, neg, weights, upstream[anchors])
    return products.finish()
