"""Multi-Similarity loss, eq 13-15."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import Self, override

from .. import checks
from .base import PairWeighting, PairWeights
from .pair_rows import Rows
from .rules import Positive

_PRESETS = {
    "paper": {"alpha": 2.0, "beta": 50.0, "base": 1.0},
    "official": {"alpha": 2.0, "beta": 40.0, "base": 0.5},
    "pml": {"alpha": 2.0, "beta": 50.0, "base": 0.5},
    "place_recognition": {"alpha": 1.0, "beta": 50.0, "base": 0.0},
}


@dataclass(frozen=True)
class MultiSimilarity(PairWeighting):
    """Multi-Similarity weighting: by the pair's own similarity and relative to its like.

    Equation (15) of one anchor, without 1/m, with λ = ``base``:

    `L_i = (1/α) log[1 + Σ_{P_i} e^{−α(S_ik − λ)}] + (1/β) log[1 + Σ_{N_i} e^{β(S_ik − λ)}]`

    Equations (13) and (14):

    `w⁻_ij = 1 / (e^{β(λ − S_ij)} + Σ_{k ∈ N_i} e^{β(S_ik − S_ij)})`

    `w⁺_ij = 1 / (e^{−α(λ − S_ij)} + Σ_{k ∈ P_i} e^{−α(S_ik − S_ij)})`

    Uses S and N; with :class:`~pml_gpw.mining.MSMining` before it, P as well.

    Limits: without the 1 (λ → ∞ for positives, −∞ for negatives) it is
    :class:`~pml_gpw.weightings.LiftedStructure` without its hinge.
    Errors: ValueError for α or β ≤ 0 and for a base that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> MultiSimilarity().weights(torch.tensor([[0.5, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[0.5000, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.3333, 0.3333]]))
    >>> MultiSimilarity.preset("paper")
    MultiSimilarity(alpha=2.0, beta=50.0, base=1.0)
    """

    alpha: Positive = 2.0
    beta: Positive = 50.0
    base: float = 0.5
    uses: ClassVar[frozenset[str]] = frozenset("SN")
    levels: ClassVar[tuple[str, ...]] = ("base",)

    def __post_init__(self) -> None:
        checks.positive("alpha", self.alpha)
        checks.positive("beta", self.beta)
        checks.finite("base", self.base)
        checks.floats(self, "alpha", "beta", "base")

    @classmethod
    def preset(cls, name: str) -> Self:
        """α, β, λ of the "paper", of its "official" code, the defaults of "pml", or those of
        "place_recognition", which GSV-Cities, MixVPR, SALAD and OpenVPRLab train with."""
        checks.one_of("name", name, _PRESETS)
        return cls(**_PRESETS[name])

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        pos_logits = -pos.expand(self.alpha) * (pos.sim - pos.expand(self.base))
        neg_logits = neg.expand(self.beta) * (neg.sim - neg.expand(self.base))
        pos_losses, pos_weights = pos.logsumexp(pos_logits, plus_one=True)
        neg_losses, neg_weights = neg.logsumexp(neg_logits, plus_one=True)
        losses = pos_losses / self.alpha + neg_losses / self.beta
        return losses, PairWeights(pos_weights, neg_weights)
