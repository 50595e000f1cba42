"""Supervised contrastive loss, also of graded pairs."""

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
class SupCon(PairWeighting):
    """Supervised contrastive loss (L_out): each positive pair against all pairs of the anchor.

    With τ = ``temperature``:

    `L_i = −(1/|P_i|) Σ_{p ∈ P_i} log q_ip, q_ij = e^{S_ij/τ} / Σ_{k ∈ P_i ∪ N_i} e^{S_ik/τ}`

    `w⁺_ip = (1/|P_i| − q_ip)/τ, w⁻_in = q_in/τ`

    A positive pair with more than its part of the sum has a negative weight: it is pushed away.
    Uses N and P.

    An anchor without positives has no loss and counts in no mean of the paper
    ("mean_of_anchors_with_positives"; PML's mean is "mean_of_nonzero").
    Errors: ValueError for τ ≤ 0.

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq 2.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> SupCon(temperature=0.5).weights(torch.tensor([[0.5, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[1.3333, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.6667, 0.6667]]))
    """

    temperature: Positive = 0.1
    uses: ClassVar[frozenset[str]] = frozenset("NP")
    any_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive("temperature", self.temperature)
        checks.floats(self, "temperature")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        # Each side by itself, because positives are few: a pass over their lists costs little.
        pos_logits = pos.sim / pos.expand(self.temperature)
        pos_sums, pos_shares = pos.logsumexp(pos_logits)
        neg_sums, neg_shares = neg.logsumexp(neg.sim / neg.expand(self.temperature))
        parts = self._parts(pos)
        has_positives = pos.count() > 0
        pos_sums = torch.where(has_positives, pos_sums, 0.0)  # two times −∞ have no gradient
        sums = torch.logaddexp(pos_sums, neg_sums)
        losses = torch.where(has_positives, sums - pos.sum(parts * pos_logits), 0.0)
        of_pos, of_neg = (
            torch.where(has_positives, (side - sums).exp(), 0.0) for side in (pos_sums, neg_sums)
        )
        return losses, PairWeights(
            (parts - pos_shares * pos.expand(of_pos)) / pos.expand(self.temperature),
            neg_shares * neg.expand(of_neg / self.temperature),
        )

    def _parts(self, pos: Rows) -> Tensor:
        """The part that each positive pair has in the loss of its anchor, as pair values."""
        return torch.ones_like(pos.sim) * pos.expand(1 / pos.count().clamp(min=1))


@dataclass(frozen=True)
class GradedSupCon(SupCon):
    """Supervised contrastive loss of graded pairs, such as images with several labels each.

    With r the relevance of a pair and q as in :class:`SupCon`, to which it is equal where all
    positives are equally relevant:

    `L_i = −Σ_{p ∈ P_i} (r_ip / Σ_{k ∈ P_i} r_ik) log q_ip`

    `w⁺_ip = (r_ip / Σ_{k ∈ P_i} r_ik − q_ip)/τ, w⁻_in = q_in/τ`

    Uses N and P.

    The relevance comes from ``pairs=``, such as :func:`pml_gpw.relations.jaccard` of label sets.
    Errors: ValueError for τ ≤ 0.

    Source: ``MultiSupConLoss`` of pytorch-metric-learning 3, with the Jaccard index.

    >>> import torch
    >>> from pml_gpw.functional import gpw_loss
    >>> relevance = torch.tensor([[float("nan"), 1.0, 0.5], [1.0, float("nan"), 0.0]])
    >>> x = torch.eye(3)
    >>> gpw_loss(x[:2], None, GradedSupCon(), references=x, pairs=relevance)
    tensor(0.6931)
    """

    @override
    def _parts(self, pos: Rows) -> Tensor:
        relevance = pos.relevance
        sums = pos.sum(relevance)
        return relevance / pos.expand(torch.where(sums > 0, sums, 1.0))
