"""Losses and weights with fields that are trained, and the gradients of those fields.

Shapes: C rows of a chunk.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .base import PairWeighting, PairWeights, evaluated
from .pair_rows import Rows
from .rules import twin_of


class Trained(NamedTuple):
    """The fields of a weighting that are trained."""

    values: dict[str, Tensor]  # () each, or (C,), one for each anchor
    upstream: Tensor | None = None  # (C,), of the losses; None: no gradient is asked for


class Evaluated(NamedTuple):
    """What a formula gives for some anchors."""

    losses: Tensor  # (C,)
    weights: PairWeights
    gradients: list[Tensor]  # of the trained values, in their shapes


def evaluated_trained(
    weighting: PairWeighting, pos: Rows, neg: Rows, trained: Trained
) -> Evaluated:
    """Losses and weights with the trained values in place of fields, and the gradients of those.

    Errors: as :func:`~pml_gpw.weightings.base.evaluated`.
    """
    if not trained.values:
        return Evaluated(*evaluated(weighting, pos, neg), [])
    losses, weights = evaluated(twin_of(weighting, trained.values), pos, neg)
    if trained.upstream is None:
        return Evaluated(losses, weights, [])

    pos, neg = pos.harmless(), neg.harmless()

    def losses_of(values: dict[str, Tensor]) -> Tensor:
        return twin_of(weighting, values).losses_alone(pos, neg)

    derivative: Any = torch.func.vjp(losses_of, trained.values)
    (gradients,) = derivative[1](trained.upstream)
    return Evaluated(losses, weights, list(gradients.values()))
