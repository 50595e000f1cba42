"""NT-Xent whose hard negatives count more."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from .. import checks
from .pair_rows import Rows
from .row_loss import RowLoss
from .rules import Positive


@dataclass(frozen=True)
class HardNTXent(RowLoss):
    """NT-Xent with negatives re-weighted by how hard they are.

    With τ = ``temperature`` and β = ``beta`` (0: :class:`NTXent`):

    `L_i = Σ_{p ∈ P_i} log[1 + Σ_{n ∈ N_i} ω_n e^{(S_in − S_ip)/τ}]`

    `ω_n = |N_i| e^{β S_in/τ} / Σ_{k ∈ N_i} e^{β S_ik/τ}`

    The mean of ω over the negatives is 1. The paper's similarity is S/τ, as here. Its correction
    for negatives of the anchor's own class is left out, since labels say which those are. Uses N
    and P.

    Errors: ValueError for τ ≤ 0 and β < 0.

    Source: Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021, eq 4.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> HardNTXent(1.0, beta=1.0).weights(torch.tensor([[0.5, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[0.6667, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.3333, 0.3333]]))
    """

    temperature: Positive = 0.5
    beta: float = 1.0
    uses: ClassVar[frozenset[str]] = frozenset("NP")

    def __post_init__(self) -> None:
        checks.positive("temperature", self.temperature)
        checks.non_negative("beta", self.beta)
        checks.floats(self, "temperature", "beta")

    @override
    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        logits = neg.sim / neg.expand(self.temperature)
        weighted, _ = neg.logsumexp(logits * neg.expand(1 + self.beta))
        weights, _ = neg.logsumexp(logits * neg.expand(self.beta))
        has_negatives = neg.count() > 0  # else ∞ − ∞
        weighted, weights = (torch.where(has_negatives, v, 0.0) for v in (weighted, weights))
        hardness = weighted - weights + neg.count().clamp(min=1).log()
        hardness = torch.where(has_negatives, hardness, -torch.inf)
        return pos.sum(softplus(pos.expand(hardness) - pos.sim / pos.expand(self.temperature)))
