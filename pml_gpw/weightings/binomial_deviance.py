"""Binomial deviance, eq 9-10."""

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
class BinomialDeviance(PairWeighting):
    """Binomial deviance: a pair weighs by its own similarity, through a sigmoid.

    Equation (9), with λ = ``base``:

    `L_i = (1/|P_i|) Σ_{P_i} log[1 + e^{α(λ − S_ij)}] + (1/|N_i|) Σ_{N_i} log[1 + e^{β(S_ij − λ)}]`

    Equation (10), with the sigmoid σ:

    `w⁺_ij = (α/|P_i|) σ(α(λ − S_ij)), w⁻_ij = (β/|N_i|) σ(β(S_ij − λ))`

    Uses S. `|P_i|` and `|N_i|` are the numbers of pairs that are weighed: after mining, of those
    that were mined.
    Errors: ValueError for α or β ≤ 0 and for a base that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> BinomialDeviance(alpha=2, beta=50).weights(
    ...     torch.tensor([[0.5, 0.5]]), positives, negatives
    ... )
    PairWeights(pos=tensor([[1., 0.]]), neg=tensor([[ 0., 25.]]))
    """

    alpha: Positive = 2.0
    beta: Positive = 50.0
    base: float = 0.5
    uses: ClassVar[frozenset[str]] = frozenset("S")
    levels: ClassVar[tuple[str, ...]] = ("base",)

    def __post_init__(self) -> None:
        checks.positive("alpha", self.alpha)
        checks.positive("beta", self.beta)
        checks.finite("base", self.base)
        checks.floats(self, "alpha", "beta", "base")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        alpha, beta = pos.expand(self.alpha), neg.expand(self.beta)
        pos_losses, pos_weights = _mean_softplus(pos, alpha * (pos.expand(self.base) - pos.sim))
        neg_losses, neg_weights = _mean_softplus(neg, beta * (neg.sim - neg.expand(self.base)))
        return pos_losses + neg_losses, PairWeights(alpha * pos_weights, beta * neg_weights)


def _mean_softplus(rows: Rows, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Row means (C,) of log(1 + e^logit) and their derivatives with respect to each logit."""
    count = rows.count().clamp(min=1)
    # logaddexp and not softplus, which drops the 1 above a threshold and so loses digits.
    losses = rows.sum(torch.logaddexp(logits, torch.zeros_like(logits))) / count
    return losses, torch.sigmoid(logits) / rows.expand(count)
