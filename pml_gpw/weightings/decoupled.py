"""Decoupled contrastive loss."""

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
class Decoupled(PairWeighting):
    """Decoupled contrastive loss (DCL): NT-Xent without the positive pair in the denominator.

    With τ = ``temperature``:

    `L_i = Σ_{p ∈ P_i} {−S_ip/τ + log Σ_{N_i} e^{S_in/τ}}`

    A positive has the weight 1/τ, however near it is, and a negative its share of the sum,
    `w⁻_in = softmax_{N_i}(S/τ)_n |P_i|/τ`. Uses N. The loss can be negative; an anchor without
    negatives has none, since log 0 is −∞.

    Errors: ValueError for τ ≤ 0.

    Source: Yeh et al., Decoupled Contrastive Learning, ECCV 2022, eq 5.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> Decoupled(temperature=0.5).weights(torch.tensor([[0.9, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[2., 0., 0.]]), neg=tensor([[0., 1., 1.]]))
    """

    temperature: Positive = 0.1
    uses: ClassVar[frozenset[str]] = frozenset("N")

    def __post_init__(self) -> None:
        checks.positive("temperature", self.temperature)
        checks.floats(self, "temperature")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        hardness, shares = neg.logsumexp(neg.sim / neg.expand(self.temperature))
        has_both = (pos.count() > 0) & (neg.count() > 0)
        hardness = torch.where(has_both, hardness, 0.0)
        losses = pos.count() * hardness - pos.sum(pos.sim / pos.expand(self.temperature))
        each = torch.where(has_both, torch.ones_like(hardness) / self.temperature, 0.0)
        return torch.where(has_both, losses, 0.0), PairWeights(
            torch.ones_like(pos.sim) * pos.expand(each),
            shares * neg.expand(each * pos.count()),
        )
