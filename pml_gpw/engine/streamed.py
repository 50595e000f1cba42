"""Losses and exact gradients from embeddings, in chunks of anchors: no N×M matrix is ever held.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..mining import MSMining
from ..weightings import PairWeighting
from ..weightings.rows import DenseRows, Rows
from .chunks import Candidates, chunk_rows
from .once import OnceOnly
from .products import GradientProducts

CHUNK_ELEMENTS = 2**19
"""Similarities held at a time: 2 MB in float32, so that a chunk stays in the cache."""


@dataclass(frozen=True)
class Pairing:
    """Who is compared with whom and how pairs are weighed.

    ``own``: reference i is anchor i, and their pair is left out.
    """

    labels: Tensor  # (N,)
    ref_labels: Tensor  # (M,)
    own: bool
    weighting: PairWeighting
    mining: MSMining | None
    chunk_size: int


def default_chunk_size(references: int) -> int:
    """Anchors per chunk for M references."""
    return max(16, CHUNK_ELEMENTS // max(1, references))


def streamed_losses(x: Tensor, y: Tensor, pairing: Pairing) -> tuple[Tensor, Tensor, Tensor]:
    """Per-anchor losses (N,) of inner products, and the numbers of pairs weighed, (N,) each.

    Shapes: anchors ``x`` (N, D), references ``y`` (M, D); ``y is x`` in self-comparison. Their
    gradients are W·y and Wᵀ·x with the signed pair weights W (eq 1-3). Where all upstream
    gradients are equal they are formed in forward; else backward walks the chunks again.
    Errors: RuntimeError on double backward.
    """
    return _StreamedLosses.apply(x, None if y is x else y, x[:1].clone(), pairing)


class _StreamedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, other: Tensor | None, link: Tensor, pairing: Pairing
    ) -> tuple[Tensor, Tensor, Tensor]:
        y = x if other is None else other
        needs_x, needs_y = ctx.needs_input_grad[:2]
        products = GradientProducts(x, y, needs_y) if needs_x or needs_y else None
        losses, num_pos, num_neg = (x.new_empty(len(x)) for _ in range(3))
        for start, pos, neg in _walk(x, y, pairing):
            losses_of_rows, weights = pairing.weighting.evaluate(pos, neg)
            rows = slice(start, start + len(losses_of_rows))
            losses[rows] = losses_of_rows
            num_pos[rows], num_neg[rows] = pos.count(), neg.count()
            if products is not None:
                products.add(start, pos, neg, weights, scale=None)
        if products is not None:
            grad_x, grad_y = products.finish()
            ctx.pairing = pairing
            ctx.save_for_backward(x, other, link, grad_x, grad_y)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return losses, num_pos, num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, other, link, grad_x, grad_y = ctx.saved_tensors
        if bool((upstream == upstream[0]).all()):
            scale = upstream[0]
            grad_x, grad_y = grad_x * scale, None if grad_y is None else grad_y * scale
        else:
            # Whoever calls backward may do so under autocast.
            with torch.autocast(x.device.type, enabled=False):
                grad_x, grad_y = _weighted_gradients(
                    x, other, grad_y is not None, ctx.pairing, upstream
                )
        if torch.is_grad_enabled():  # create_graph=True
            grad_x = OnceOnly.apply(grad_x, link)
            grad_y = None if grad_y is None else OnceOnly.apply(grad_y, link)
        return grad_x, grad_y, None, None


def _weighted_gradients(
    x: Tensor, other: Tensor | None, needs_y: bool, pairing: Pairing, upstream: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Gradients for upstream gradients (N,) that differ: the chunks are walked again."""
    y = x if other is None else other
    products = GradientProducts(x, y, needs_y)
    for start, pos, neg in _walk(x, y, pairing):
        weights = pairing.weighting.weigh(pos, neg)
        products.add(start, pos, neg, weights, upstream[start : start + pairing.chunk_size])
    return products.finish()


def _walk(x: Tensor, y: Tensor, pairing: Pairing) -> Iterator[tuple[int, Rows, Rows]]:
    """The positive and negative rows of each chunk; they are valid until the next one."""
    size = min(pairing.chunk_size, len(x))
    buffer = x.new_empty((size, len(y)))
    rows_of_chunk = _dense_chunks(pairing) if pairing.weighting.needs_dense else _chunks(pairing)
    for start in range(0, len(x), size):
        part = x[start : start + size]
        sim = torch.mm(part, y.T, out=buffer[: len(part)])
        yield start, *rows_of_chunk(sim, start)


def _chunks(pairing: Pairing) -> Any:
    candidates = Candidates.of(pairing.labels, pairing.ref_labels, pairing.own)
    return lambda sim, start: chunk_rows(sim, candidates, start, pairing.mining)


def _dense_chunks(pairing: Pairing) -> Any:
    def rows(sim: Tensor, start: int) -> tuple[Rows, Rows]:
        anchors = pairing.labels[start : start + len(sim)]
        neg = anchors.unsqueeze(1) != pairing.ref_labels
        pos = ~neg
        if pairing.own:
            pos.diagonal(start).fill_(False)
        if pairing.mining is not None:
            pos, neg = pairing.mining(sim, pos, neg)
        return DenseRows(sim, pos), DenseRows(sim, neg)

    return rows
