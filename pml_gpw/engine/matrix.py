"""Losses and gradients from a similarity matrix: forward computes both, backward only scales."""

from typing import Any

import torch
from torch import Tensor

from ..weightings import PairWeighting
from ..weightings.rows import DenseRows, rows_of
from .once import OnceOnly


class _MatrixLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sim: Tensor, link: Tensor, pos: Tensor, neg: Tensor, weighting: PairWeighting
    ) -> Tensor:
        view = DenseRows if weighting.needs_dense else rows_of
        pos_rows, neg_rows = view(sim, pos), view(sim, neg)
        losses, weights = weighting.evaluate(pos_rows, neg_rows)
        # Eq 1-3: the signed weights are the gradient, + for negatives and − for positives.
        signed = neg_rows.matrix(weights.neg) - pos_rows.matrix(weights.pos)
        ctx.save_for_backward(signed, link)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        signed, link = ctx.saved_tensors
        gradient = upstream.unsqueeze(1) * signed
        if torch.is_grad_enabled():  # create_graph=True
            gradient = OnceOnly.apply(gradient, link)
        return gradient, None, None, None, None


def matrix_losses(sim: Tensor, pos: Tensor, neg: Tensor, weighting: PairWeighting) -> Tensor:
    """Per-anchor losses (N,) whose gradient with respect to ``sim`` is the signed pair weights.

    Shapes: ``sim`` (N, M) similarities, ``pos`` and ``neg`` (N, M) masks of the pairs to weigh.
    Errors: RuntimeError on double backward; the weights are held constant in backward.
    """
    # The link is a copy of one entry, so that the graph does not keep all of ``sim`` alive.
    return _MatrixLosses.apply(sim, sim[:1, :1].clone(), pos, neg, weighting)
