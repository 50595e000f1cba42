"""Losses and weights with fields that are trained, and the derivatives with respect to those.

Shapes: C rows of a chunk.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .base import PairWeighting, PairWeights, evaluated
from .pair_rows import Rows
from .rules import twin_of


class Evaluated(NamedTuple):
    """What a formula gives for some anchors."""

    losses: Tensor  # (C,)
    weights: PairWeights
    derivatives: list[Tensor]  # (C,) each, of the losses with respect to a field


def evaluated_trained(
    weighting: PairWeighting, pos: Rows, neg: Rows, trained: dict[str, Tensor]
) -> Evaluated:
    """The losses, weights and derivatives with the values of ``trained`` in place of fields.

    Errors: as :func:`~pml_gpw.weightings.base.evaluated`.
    """
    twin = twin_of(weighting, trained)
    losses, weights = evaluated(twin, pos, neg)
    return Evaluated(losses, weights, derivatives(twin, pos, neg, trained))


def derivatives(
    weighting: PairWeighting, pos: Rows, neg: Rows, trained: dict[str, Tensor]
) -> list[Tensor]:
    """∂L/∂field of each anchor's loss, (C,), for each field that is a tensor in ``trained``.

    Values () are one for all anchors, values (C,) those of each. Derivatives are taken forward, so
    that those of each anchor are known whatever its upstream gradient will be.
    """

    def losses_of(name: str, value: Tensor) -> Tensor:
        return twin_of(weighting, {**trained, name: value}).losses_alone(pos, neg)

    return [
        torch.func.jvp(partial(losses_of, name), (value,), (torch.ones_like(value),))[1]
        for name, value in trained.items()
    ]
