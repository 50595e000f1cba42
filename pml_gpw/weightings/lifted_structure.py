"""Lifted structure loss, eq 6-8."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .pair_rows import Rows
from .rules import Positive


@dataclass(frozen=True)
class LiftedStructure(PairWeighting):
    """Lifted structure loss: a pair weighs by how hard it is among the anchor's pairs of its kind.

    Equation (6), with temperatures and λ = ``margin``:

    `L_i = [(1/α) log Σ_{P_i} e^{−α S_ik} + (1/β) log Σ_{N_i} e^{β S_ik} + λ]_+`

    Equations (7) and (8), while the hinge is active; else the weights are 0:

    `w⁺_ij = 1 / Σ_{k ∈ P_i} e^{α(S_ij − S_ik)}, w⁻_ij = 1 / Σ_{k ∈ N_i} e^{β(S_ik − S_ij)}`

    Uses N; the hinge depends on all pairs of the anchor.

    α = β = 1 is the paper's form. ``margin=None`` drops the hinge (and λ), as the authors' own
    ablation does. An anchor without positives or without negatives has no loss: the logarithm of
    its empty sum is −∞.
    Errors: ValueError for α or β ≤ 0 and for a margin that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> LiftedStructure().weights(torch.tensor([[0.9, 0.7, 0.7]]), positives, negatives).neg
    tensor([[0.0000, 0.5000, 0.5000]])
    """

    alpha: Positive = 1.0
    beta: Positive = 1.0
    margin: float | None = 1.0
    uses: ClassVar[frozenset[str]] = frozenset("N")

    def __post_init__(self) -> None:
        checks.positive("alpha", self.alpha)
        checks.positive("beta", self.beta)
        if self.margin is not None:
            checks.finite("margin", self.margin)
        checks.floats(self, "alpha", "beta", "margin")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        pos_sums, pos_weights = pos.logsumexp(-pos.expand(self.alpha) * pos.sim)
        neg_sums, neg_weights = neg.logsumexp(neg.expand(self.beta) * neg.sim)
        active = (pos.count() > 0) & (neg.count() > 0)
        # Before the division, because an infinite sum would leave its fields no gradient.
        pos_sums, neg_sums = (torch.where(active, sums, 0.0) for sums in (pos_sums, neg_sums))
        losses = pos_sums / self.alpha + neg_sums / self.beta
        if self.margin is not None:
            losses = losses + self.margin
            active = active & (losses > 0)
        return torch.where(active, losses, 0.0), PairWeights(
            torch.where(pos.expand(active), pos_weights, 0.0),
            torch.where(neg.expand(active), neg_weights, 0.0),
        )
