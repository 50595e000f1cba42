"""Circle loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .pair_rows import Rows
from .rules import Positive


@dataclass(frozen=True)
class Circle(PairWeighting):
    """Circle loss: a pair counts the more, the further its similarity is from the optimum.

    `L_i = softplus(log Σ_{N_i} e^{γ α_n (S_in − m)} + log Σ_{P_i} e^{−γ α_p (S_ip − 1 + m)})`

    The paper holds the scales `α_n = [S_in + m]_+` and `α_p = [1 + m − S_ip]_+` constant in the
    gradient; m = ``m``, γ = ``gamma``. With L' the sigmoid of the sum in the outer bracket, and the
    softmax of the exponents,

    `w⁺_ip = γ α_p softmax_{P_i} L', w⁻_in = γ α_n softmax_{N_i} L'`

    Uses S, N and P.

    An anchor without positives or without negatives has no loss. The paper takes m = 0.25 and
    γ = 256 for faces, 128 for persons, m = 0.4 and γ = 80 for fine-grained retrieval.
    Errors: ValueError for m that is not a finite number, γ ≤ 0, and another similarity than the
    cosine.

    Source: Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization,
    CVPR 2020, eq 6.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> Circle(m=0.0, gamma=2.0).weights(torch.tensor([[0.0, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[1.9212, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.4803, 0.4803]]))
    """

    m: float = 0.4
    gamma: Positive = 80.0
    uses: ClassVar[frozenset[str]] = frozenset("SNP")
    of_unit_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.finite("m", self.m)
        checks.positive("gamma", self.gamma)
        checks.floats(self, "m", "gamma")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        of_pos, of_neg = pos.expand(self.m), neg.expand(self.m)
        pos_scales = pos.expand(self.gamma) * (1 + of_pos - pos.sim.detach()).clamp(min=0)
        neg_scales = neg.expand(self.gamma) * (of_neg + neg.sim.detach()).clamp(min=0)
        pos_sums, pos_shares = pos.logsumexp(-pos_scales * (pos.sim - 1 + of_pos))
        neg_sums, neg_shares = neg.logsumexp(neg_scales * (neg.sim - of_neg))
        sums = pos_sums + neg_sums
        slope = torch.sigmoid(sums)
        return softplus(sums), PairWeights(
            pos_scales * pos_shares * pos.expand(slope), neg_scales * neg_shares * neg.expand(slope)
        )
