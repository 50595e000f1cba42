"""Margin loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .euclidean import distance, per_distance
from .pair_rows import Rows


@dataclass(frozen=True)
class Margin(PairWeighting):
    """Margin loss: positives nearer than a boundary, negatives further away, by a margin.

    With the Euclidean distance `D = √(2 − 2 S)` of rows of norm 1, m = ``margin`` and the boundary
    β = ``beta``:

    `L_i = Σ_{P_i} [D_ip − β + m]_+ + Σ_{N_i} [β + m − D_in]_+`

    The weight of a pair is 1/D while its hinge is active, else 0, and 0 where D is 0. Uses S.

    The paper trains β, one value or one a class: ``trainable=("beta",)`` or
    ``trainable={"beta": num_classes}``.

    Args:
        margin: m.
        beta: β, a distance.
        per_triplet: whether a pair counts once for each triplet that it is in, as in PML: positive
            pairs times the number of negatives, negative pairs times that of positives.

    Errors: ValueError for numbers that are not finite, and another similarity than the cosine.

    Source: Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017, section 4.2.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> Margin().weights(torch.tensor([[-0.125, 0.5, -1.0]]), positives, negatives)
    PairWeights(pos=tensor([[0.6667, 0.0000, 0.0000]]), neg=tensor([[0., 1., 0.]]))
    """

    margin: float = 0.2
    beta: float = 1.2
    per_triplet: bool = False
    uses: ClassVar[frozenset[str]] = frozenset("S")
    of_unit_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.finite("margin", self.margin)
        checks.finite("beta", self.beta)
        checks.instance("per_triplet", self.per_triplet, bool)
        checks.floats(self, "margin", "beta")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        (pos_excess, pos_times), (neg_excess, neg_times) = self._sides(pos, neg)
        pos_losses = pos_times * pos.sum(pos_excess.clamp(min=0))
        losses = pos_losses + neg_times * neg.sum(neg_excess.clamp(min=0))
        pos_weights = torch.where(pos_excess > 0, per_distance(pos.sim), 0.0)
        neg_weights = torch.where(neg_excess > 0, per_distance(neg.sim), 0.0)
        return losses, PairWeights(
            pos_weights * pos.expand(pos_times), neg_weights * neg.expand(neg_times)
        )

    @override
    def terms(self, pos: Rows, neg: Rows, weights: PairWeights) -> tuple[Tensor, Tensor]:
        sides = zip((pos, neg), self._sides(pos, neg), strict=True)
        num_pos, num_neg = (times * rows.sum(excess > 0) for rows, (excess, times) in sides)
        return num_pos, num_neg

    def _sides(self, pos: Rows, neg: Rows) -> tuple[Any, Any]:
        """Of either kind the hinges' arguments and how often a pair counts."""
        times = (neg.count(), pos.count()) if self.per_triplet else (1.0, 1.0)
        pos_excess = distance(pos.sim) - pos.expand(self.beta - self.margin)
        neg_excess = neg.expand(self.beta + self.margin) - distance(neg.sim)
        return (pos_excess, times[0]), (neg_excess, times[1])
