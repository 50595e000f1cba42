"""Losses and gradients from a matrix of similarities, whose own gradient autograd takes.

Shapes: N anchors, M references.
"""

from typing import Any

import torch
from torch import Tensor

from ..checks import finite_similarities
from ..mining.base import mine_rows
from ..precision import engine_context
from ..weightings import DenseRows, PairWeighting
from ..weightings.base import Trained, evaluated_trained, refuse_negative_weights
from ..weightings.pair_rows import RowContext
from .batch import AnchorLosses
from .dense import graded_rows
from .double_backward import once_differentiable
from .plan import Program
from .sparse.chunks import rows_by_density
from .weighted_pairs import WeightedPairs


def matrix_losses(sim: Tensor, program: Program) -> AnchorLosses:
    """Each anchor's loss (N,), and the numbers of its pairs that were weighed."""
    if isinstance(program.pairs, WeightedPairs):
        parts = program.pairs.parts
        found = [matrix_losses(sim, program._replace(pairs=pairs)) for pairs, _ in parts]
        weighted = torch.stack([w * f.losses for (_, w), f in zip(parts, found, strict=True)])
        counts = (torch.stack([f[i] for f in found]).sum(dim=0) for i in (1, 2))
        return AnchorLosses(weighted.sum(dim=0), *counts)
    pos, neg = matrix_rows(sim.detach(), program)
    rows_of = rows_by_density if program.most_pairs else DenseRows
    rules = program.weighting, rows_of, program.reduction.sums_weights, tuple(program.trained)
    context = pos.context.self_index, pos.context.relevance
    given = pos.mask, neg.mask, *context, *rules, *program.trained.values()
    losses, num_pos, num_neg = _MatrixLosses.apply(sim, sim[:1, :1].clone(), *given)
    if torch.compiler.is_compiling():  # where nobody else looks at values
        is_finite = torch.linalg.vector_norm(sim.detach(), torch.inf, dim=1).isfinite()
        losses = losses.masked_fill(~is_finite, torch.nan)
    return AnchorLosses(losses, num_pos, num_neg)


def matrix_rows(sim: Tensor, program: Program) -> tuple[DenseRows, DenseRows]:
    """The mined rows of all anchors. Errors: ValueError for similarities that are not finite."""
    if not torch.compiler.is_compiling() and sim.numel():
        finite_similarities(sim, program.context.first_anchor)
    masks = program.pairs.graded_masks(slice(0, sim.shape[0]))
    return mine_rows(*graded_rows(sim, *masks, program.context), program.mining)


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
    rules = None, 1.0, weighting, DenseRows, False, ()
    return _MatrixLosses.apply(sim, sim[:1, :1].clone(), pos, neg, *rules)[0]


class _MatrixLosses(torch.autograd.Function):
    """Forward computes losses and gradients, backward only scales.

    ``link``: a copy of one entry, so that the graph does not keep all of ``sim`` alive.
    """

    @staticmethod
    def forward(ctx: Any, sim: Tensor, link: Tensor, *others: Any) -> tuple[Tensor, ...]:
        *masks, self_index, relevance, weighting, rows_of, sums_weights, names = others[:8]
        trained = {k: v.detach() for k, v in zip(names, others[8:], strict=True)}
        context = RowContext(0, None, self_index, relevance)
        sides = zip(masks, (context, context.of_negatives()), strict=True)
        rows: Any = [rows_of(sim.detach(), mask, side) for mask, side in sides]
        asked = Trained(trained, None, sums_weights)
        *found, weights, _ = evaluated_trained(weighting, rows[0], rows[1], asked)
        if trained:  # else nothing of the rows is needed later
            ctx.rows, ctx.weighting = rows, weighting
        ctx.trained = trained
        of_pos, of_neg = (r.to_dense(w) for r, w in zip(rows, weights, strict=True))
        refuse_negative_weights(weighting, of_pos.amin(), of_neg.amin())
        ctx.save_for_backward(of_neg.sub_(of_pos), link)
        ctx.mark_non_differentiable(*found[1:])
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        signed, link = ctx.saved_tensors
        gradients: list[Any] = [upstream.unsqueeze(1) * signed]
        if ctx.trained:
            with torch.no_grad(), engine_context(upstream):
                trained = Trained(ctx.trained, upstream)
                found = evaluated_trained(ctx.weighting, ctx.rows[0], ctx.rows[1], trained)
            gradients += found.gradients
        if torch.is_grad_enabled():  # with create_graph=True
            gradients = once_differentiable(gradients, link)
        return gradients[0], *(None,) * 9, *gradients[1:]
