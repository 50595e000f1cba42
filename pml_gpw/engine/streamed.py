"""Losses and exact gradients from embeddings, in chunks of anchors: no N×M matrix is ever held.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

from ..weightings import PairWeighting
from .once import OnceOnly
from .products import GradientProducts
from .walk import Pairing, walk


def streamed_losses(
    x: Tensor, y: Tensor, pairing: Pairing, weighting: PairWeighting
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-anchor losses (N,) of inner products, and the numbers of pairs weighed, (N,) each.

    Shapes: anchors ``x`` (N, D), references ``y`` (M, D); ``y is x`` in self-comparison. Their
    gradients are W·y and Wᵀ·x with the signed pair weights W (eq 1-3). Where all upstream
    gradients are equal they are formed in forward; else backward walks the chunks again.
    Errors: RuntimeError on double backward.
    """
    other = None if y is x else y
    if not torch.is_grad_enabled():  # no gradient is formed for what asks for none
        x, other = x.detach(), None if other is None else other.detach()
    return _StreamedLosses.apply(x, other, x[:1].clone(), pairing, weighting)


class _StreamedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        other: Tensor | None,
        link: Tensor,
        pairing: Pairing,
        weighting: PairWeighting,
    ) -> tuple[Tensor, Tensor, Tensor]:
        y = x if other is None else other
        needs_x, needs_y = ctx.needs_input_grad[:2]
        products = GradientProducts(x, y, needs_y) if needs_x or needs_y else None
        losses, num_pos, num_neg = (x.new_empty(len(x)) for _ in range(3))
        for anchors, pos, neg in walk(x, y, pairing, weighting.needs_dense):
            losses[anchors], weights = weighting.evaluate(pos, neg)
            num_pos[anchors], num_neg[anchors] = pos.count(), neg.count()
            if products is not None:
                products.add(anchors, pos, neg, weights, scale=None)
        if products is not None:
            grad_x, grad_y = products.finish()
            ctx.pairing, ctx.weighting = pairing, weighting
            ctx.save_for_backward(x, other, link, grad_x, grad_y)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return losses, num_pos, num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, other, link, grad_x, grad_y = ctx.saved_tensors
        if bool((upstream == upstream[:1]).all()):
            scale = upstream[:1].sum()  # of no anchors 0
            grad_x, grad_y = grad_x * scale, None if grad_y is None else grad_y * scale
        else:
            # Whoever calls backward may do so under autocast.
            with torch.autocast(x.device.type, enabled=False):
                grad_x, grad_y = _weighted_gradients(
                    x, other, grad_y is not None, ctx.pairing, ctx.weighting, upstream
                )
        if torch.is_grad_enabled():  # create_graph=True
            grad_x = OnceOnly.apply(grad_x, link)
            grad_y = None if grad_y is None else OnceOnly.apply(grad_y, link)
        return grad_x, grad_y, None, None, None


def _weighted_gradients(
    x: Tensor,
    other: Tensor | None,
    needs_y: bool,
    pairing: Pairing,
    weighting: PairWeighting,
    upstream: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Gradients for upstream gradients (N,) that differ: the chunks are walked again."""
    y = x if other is None else other
    products = GradientProducts(x, y, needs_y)
    for anchors, pos, neg in walk(x, y, pairing, weighting.needs_dense):
        weights = weighting.weigh(pos, neg)
        products.add(anchors, pos, neg, weights, upstream[anchors])
    return products.finish()
