"""Triplet loss, eq 5."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .dense_rows import DenseRows
from .pair_rows import Rows


@dataclass(frozen=True)
class Triplet(PairWeighting):
    """Triplet loss over all triplets of an anchor: a pair weighs as many as it has active ones.

    Equation (5), summed over triplets, with λ = ``margin``:

    `L_i = Σ_{p ∈ P_i} Σ_{n ∈ N_i} [S_in − S_ip + λ]_+`

    The weight of a pair is the number of its triplets that are active:

    `w⁺_ip = #{n : S_in > S_ip − λ}, w⁻_in = #{p : S_ip − λ < S_in}`

    Uses P. The triplets are counted by sorting each row, in O(M log M), and not listed.
    Errors: ValueError for a margin that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> Triplet(margin=0.1).weights(torch.tensor([[0.6, 0.7, 0.3]]), positives, negatives)
    PairWeights(pos=tensor([[1., 0., 0.]]), neg=tensor([[0., 1., 0.]]))
    """

    margin: float = 0.1
    uses: ClassVar[frozenset[str]] = frozenset("P")
    needs_dense: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.finite("margin", self.margin)
        checks.floats(self, "margin")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        weights = self.weigh(pos, neg)
        # Both kinds weigh the same in total, so similarities may be taken relative to any level
        # of the row; near the anchor's own keeps the difference of two large sums exact.
        level = pos.max(pos.sim.detach()).nan_to_num(neginf=0.0)
        neg_part = neg.sum(weights.neg * (neg.sim - neg.expand(level)))
        pos_part = pos.sum(weights.pos * (pos.sim - pos.expand(level) - self.margin))
        return neg_part - pos_part, weights

    @override
    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        assert isinstance(pos, DenseRows)
        assert isinstance(neg, DenseRows)
        with torch.no_grad():
            # One rounded threshold serves both counts, so that they agree on every triplet.
            threshold = (pos.sim - self.margin).contiguous()
            negatives = torch.where(neg.mask, neg.sim, -torch.inf).sort(dim=1).values
            thresholds = torch.where(pos.mask, threshold, torch.inf).sort(dim=1).values
            not_above = torch.searchsorted(negatives, threshold, right=True)
            below = torch.searchsorted(thresholds, neg.sim.contiguous())
            columns = pos.sim.shape[1]
            return PairWeights((columns - not_above).to(threshold), below.to(threshold))
