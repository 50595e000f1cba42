"""Losses and weights with fields that are trained, and the gradients of those fields.

Shapes: C rows of a chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .base import PairWeighting, PairWeights, evaluated, refuse_changed
from .pair_rows import Rows
from .row_loss import RowLoss, differentiated
from .rules import twin_of

#: Which of some anchors count, 1 or 0 each in the dtype of the losses, from losses and numbers of
#: pairs, (C,) each.
Counts = Callable[[Tensor, Tensor, Tensor], Tensor]


class Trained(NamedTuple):
    """The fields of a weighting that are trained, and what is to be known beside the losses."""

    values: dict[str, Tensor]  # () each, or (C,), one for each anchor
    #: The gradients of the losses (C,), or how they follow; None: no gradient is asked for.
    upstream: Tensor | Counts | None = None
    #: Whether weights, as magnitudes, are summed up in place of numbers of pairs.
    sums_weights: bool = False


class Evaluated(NamedTuple):
    """The values of a formula for some anchors."""

    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)
    weights: PairWeights
    gradients: list[Tensor]  # of the trained values, in their shapes


def every_anchor(losses: Tensor, num_pos: Tensor, num_neg: Tensor) -> Tensor:
    """All anchors count: ones (C,)."""
    return torch.ones_like(losses)


def evaluated_trained(
    weighting: PairWeighting, pos: Rows, neg: Rows, trained: Trained
) -> Evaluated:
    """Losses and weights with the trained values in place of fields, and the gradients of those.

    Errors: as :func:`~pml_gpw.weightings.base.evaluated`.
    """
    values, upstream, sums_weights = trained
    of_values: dict[str, Tensor] = {}
    of_values_for: Any = None
    if not values:
        losses, weights = evaluated(weighting, pos, neg)
    elif upstream is None or type(weighting).evaluate is not RowLoss.evaluate:
        losses, weights = evaluated(twin_of(weighting, values), pos, neg)
        of_values_for = partial(_of_values_for, weighting, values, pos, neg)
    else:
        pos, neg = pos.harmless(), neg.harmless()
        before = pos.version + neg.version
        found = differentiated(cast(RowLoss, weighting), values, pos, neg)
        refuse_changed(weighting, pos, neg, before)
        losses, weights, of_values, of_values_for = found
    counts = pos.count(), neg.count()
    if sums_weights:
        counts = pos.sum(weights.pos.abs()), neg.sum(weights.neg.abs())
    if values and upstream is not None and not (of_values and upstream is every_anchor):
        if not isinstance(upstream, Tensor):
            upstream = upstream(losses, *counts)
        of_values = of_values_for(upstream)
    return Evaluated(losses, *counts, weights, list(of_values.values()))


def _of_values_for(
    weighting: PairWeighting,
    values: dict[str, Tensor],
    pos: Rows,
    neg: Rows,
    upstream: Tensor,
) -> dict[str, Tensor]:
    """The gradients of trained values for upstream gradients (C,) of the losses."""
    pos, neg = pos.harmless(), neg.harmless()

    def losses_of(values: dict[str, Tensor]) -> Tensor:
        return twin_of(weighting, values).losses_alone(pos, neg)

    derivative: Any = torch.func.vjp(losses_of, values)
    (gradients,) = derivative[1](upstream)
    return gradients
