"""Losses and gradients from a similarity matrix: forward computes both, backward only scales."""

from typing import Any

import torch
from torch import Tensor

from ..weightings import DenseRows, PairWeighting
from ..weightings.base import weigh
from ..weightings.sparse_rows import rows_by_density
from .double_backward import ForbidDoubleBackward
from .gradients import signed_weights


class _DenseLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, sim: Tensor, link: Tensor, pos: Tensor, neg: Tensor, weighting: PairWeighting
    ) -> Tensor:
        view = DenseRows if weighting.needs_dense else rows_by_density
        pos_rows, neg_rows = view(sim, pos), view(sim, neg)
        losses, weights = weigh(weighting, pos_rows, neg_rows)
        # Eq 1-3: the signed weights are the gradient.
        ctx.save_for_backward(signed_weights(weighting, pos_rows, neg_rows, weights), link)
        return losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None, None]:
        signed, link = ctx.saved_tensors
        gradient = upstream.unsqueeze(1) * signed
        if torch.is_grad_enabled():  # create_graph=True
            gradient = ForbidDoubleBackward.apply(gradient, link)
        return gradient, None, None, None, None


def dense_losses(sim: Tensor, pos: Tensor, neg: Tensor, weighting: PairWeighting) -> Tensor:
    """Per-anchor losses (N,) whose gradient with respect to ``sim`` is the signed pair weights.

    Shapes: ``sim`` (N, M) similarities, ``pos`` and ``neg`` (N, M) masks of the pairs to weigh.
    Errors: RuntimeError on double backward, since the weights are held constant in backward;
    ValueError that names the weighting for weights that are negative or NaN.

    >>> import torch
    >>> from pml_gpw.weightings import Constant
    >>> sim = torch.tensor([[0.8, 0.5]], requires_grad=True)
    >>> pos, neg = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> dense_losses(sim, pos, neg, Constant()).sum().backward()
    >>> sim.grad
    tensor([[-1.,  1.]])
    """
    # The link is a copy of one entry, so that the graph does not keep all of ``sim`` alive.
    return _DenseLosses.apply(sim, sim[:1, :1].clone(), pos, neg, weighting)
