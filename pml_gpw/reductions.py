"""From the losses of the anchors to one loss: the means that the field uses.

Shapes: N anchors.
"""

from typing import Literal

import torch
from torch import Tensor

from .engine import AnchorLosses
from .engine.reduction import MEAN, NONE, Reduction
from .weightings.base import Counts

ReductionName = Literal[
    "mean",
    "sum",
    "none",
    "mean_of_anchors_with_pairs",
    "mean_of_anchors_with_positives",
    "mean_of_positive_pairs",
    "mean_of_nonzero",
    "mean_of_active_terms",
]


def _anchors_with_pairs(losses: Tensor, num_pos: Tensor, num_neg: Tensor) -> Tensor:
    return (num_pos + num_neg > 0).to(losses.dtype)


def _anchors_with_positives(losses: Tensor, num_pos: Tensor, num_neg: Tensor) -> Tensor:
    return (num_pos > 0).to(losses.dtype)


def _nonzero_losses(losses: Tensor, num_pos: Tensor, num_neg: Tensor) -> Tensor:
    return (losses > 0).to(losses.dtype)


def _mean_over(counts: Counts) -> Reduction:
    """The mean of the losses of the anchors that count; 0 where there are none."""

    def mean(found: AnchorLosses) -> Tensor:
        counted = counts(*found).detach()
        losses = torch.where(counted > 0, found.losses, 0.0)
        return losses.sum() / counted.sum().clamp(min=1)

    return Reduction(mean, counts)


def _per_positive_pair(found: AnchorLosses) -> Tensor:
    return found.losses.sum() / found.num_pos.sum().clamp(min=1)


def _per_weight(found: AnchorLosses) -> Tensor:
    """Each term of a hinge that is active has the weight 1."""
    weights = (found.num_pos + found.num_neg).sum()
    return found.losses.sum() / torch.where(weights > 0, weights, 1.0)


REDUCTIONS: dict[str, Reduction] = {
    "mean": MEAN,
    "sum": Reduction(lambda found: found.losses.sum()),
    "none": NONE,
    "mean_of_anchors_with_pairs": _mean_over(_anchors_with_pairs),
    "mean_of_anchors_with_positives": _mean_over(_anchors_with_positives),
    "mean_of_positive_pairs": Reduction(_per_positive_pair),
    "mean_of_nonzero": _mean_over(_nonzero_losses),
    "mean_of_active_terms": Reduction(_per_weight, sums_weights=True),
}
"""Each reduction of the losses of the anchors."""
