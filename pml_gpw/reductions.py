"""From the losses of the anchors to one loss: the means that the field uses.

Shapes: N anchors.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .engine import AnchorLosses

ReductionName = Literal[
    "mean",
    "sum",
    "none",
    "mean_of_anchors_with_pairs",
    "mean_of_anchors_with_positives",
    "mean_of_positive_pairs",
    "mean_of_nonzero",
]


class Reduction(NamedTuple):
    """A reduction, and whether all anchors then have the same upstream gradient."""

    of: Callable[[AnchorLosses], Tensor]
    is_uniform: bool


def _mean(found: AnchorLosses) -> Tensor:
    losses = found.losses
    return losses.mean() if len(losses) else losses.sum()  # the mean of nothing would be NaN


def _mean_of(losses: Tensor, counted: Tensor) -> Tensor:
    """The mean of the losses of some anchors; 0 where there are none."""
    return torch.where(counted, losses, 0.0).sum() / counted.sum().clamp(min=1)


def _per_positive_pair(found: AnchorLosses) -> Tensor:
    return found.losses.sum() / found.num_pos.sum().clamp(min=1)


REDUCTIONS: dict[str, Reduction] = {
    "mean": Reduction(_mean, True),
    "sum": Reduction(lambda found: found.losses.sum(), True),
    "none": Reduction(lambda found: found.losses, False),
    "mean_of_anchors_with_pairs": Reduction(
        lambda found: _mean_of(found.losses, found.num_pos + found.num_neg > 0), False
    ),
    "mean_of_anchors_with_positives": Reduction(
        lambda found: _mean_of(found.losses, found.num_pos > 0), False
    ),
    "mean_of_positive_pairs": Reduction(_per_positive_pair, True),
    "mean_of_nonzero": Reduction(lambda found: _mean_of(found.losses, found.losses > 0), False),
}
