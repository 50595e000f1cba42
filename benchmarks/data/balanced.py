"""Weightings with balanced sides: an anchor's positives weigh 1 in total, as do its negatives.

An anchor has a few positives and many negatives. Where every pair weighs the same, the negatives
outweigh the positives by their number alone; divided by their sum, they do not.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from typing_extensions import Self, override

from pml_gpw import GPWLoss, MSMiner, checks
from pml_gpw.weightings import PairWeighting, PairWeights, Rows


@dataclass(frozen=True)
class BalancedConstant(PairWeighting):
    """Equal weights, divided by their sum: w⁺ = 1/|P_i|, w⁻ = 1/|N_i|. Uses no similarity.

    Its loss is the mean similarity of the negatives less that of the positives.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> BalancedConstant().weights(torch.zeros(1, 3), positives, negatives)
    PairWeights(pos=tensor([[1., 0., 0.]]), neg=tensor([[0.0000, 0.5000, 0.5000]]))
    """

    @override
    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        return PairWeights(_equal(pos), _equal(neg))


@dataclass(frozen=True)
class BalancedBinomialDeviance(PairWeighting):
    """The weights of binomial deviance (eq 10), each side of an anchor divided by its sum.

    w⁺_ij = σ(α(λ − S_ij)) / Σ_{k ∈ P_i} σ(α(λ − S_ik)),
    w⁻_ij = σ(β(S_ij − λ)) / Σ_{k ∈ N_i} σ(β(S_ik − λ)), λ = ``base``.

    Each pair is weighed by its own similarity, but the division makes the weight depend on the
    other pairs of the anchor: it uses S and, unlike binomial deviance, N. Where all similarities
    lie far below λ, the negatives weigh as in eq 8. No loss has these weights for its gradient, so
    the loss is that of eq 3.

    Errors: ValueError for α or β ≤ 0 and for a base that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> weighting = BalancedBinomialDeviance(beta=50)
    >>> weighting.weights(torch.tensor([[0.5, 0.9, 0.5]]), positives, negatives).neg
    tensor([[0.0000, 0.6667, 0.3333]])
    """

    alpha: float = 2.0
    beta: float = 50.0
    base: float = 0.5
    similarities: ClassVar[frozenset[str]] = frozenset("SN")

    def __post_init__(self) -> None:
        checks.positive("alpha", self.alpha)
        checks.positive("beta", self.beta)
        checks.finite("base", self.base)
        checks.floats(self, "alpha", "beta", "base")

    @override
    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        return PairWeights(
            _shares(pos, logsigmoid(self.alpha * (self.base - pos.sim))),
            _shares(neg, logsigmoid(self.beta * (neg.sim - self.base))),
        )

    @override
    def for_negated_distances(self) -> Self:
        return replace(self, base=-self.base)


def balanced_variant(
    similarities: str,
    *,
    alpha: float = 2,
    beta: float = 50,
    base: float = 0.5,
    epsilon: float = 0.1,
) -> tuple[MSMiner | None, GPWLoss]:
    """Miner and loss of ``ms_variant`` with balanced sides, for "", "S", "P" and "SP".

    The weights are balanced after mining. The variants with N need no balance: eq 8 and 13 divide
    by a sum over the anchor's pairs.

    >>> balanced_variant("")[1].weighting
    BalancedConstant()
    """
    if similarities not in ("", "S", "P", "SP"):
        raise ValueError(f'similarities must be "", "S", "P" or "SP", got {similarities!r}')
    weighting: PairWeighting = BalancedConstant()
    if "S" in similarities:
        weighting = BalancedBinomialDeviance(alpha, beta, base)
    return (MSMiner(epsilon) if "P" in similarities else None), GPWLoss(weighting)


def _equal(rows: Rows) -> Tensor:
    return torch.ones_like(rows.sim) / rows.expand(rows.count().clamp(min=1))


def _shares(rows: Rows, logarithms: Tensor) -> Tensor:
    """Weights, given by their logarithms because all of a row may underflow, over their sum."""
    shares = rows.logsumexp(logarithms)[1]
    return torch.where(rows.expand(rows.count() > 0), shares, 0.0)
