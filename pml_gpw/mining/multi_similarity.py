"""Similarity-P mining, eq 11-12."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from .. import checks
from ..weightings import Rows
from .base import PairMining


@dataclass(frozen=True)
class MSMining(PairMining):
    """Keep the pairs that are hard relative to the anchor's hardest pair of the other kind.

    A negative stays if (eq 11)

    `S_ij > min_{k ∈ P_i} S_ik − ε`

    and a positive if (eq 12)

    `S_ij < max_{k ∈ N_i} S_ik + ε`

    Uses P. A larger ε (``epsilon``, ≥ 0, in units of similarity) keeps more pairs. An anchor
    without positives or without negatives keeps nothing.
    Errors: ValueError for ε < 0.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.55, 0.4]])
    >>> MSMining(epsilon=0.1)(sim, torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1])
    (tensor([[ True, False, False]]), tensor([[False,  True, False]]))
    """

    epsilon: float = 0.1
    uses: ClassVar[frozenset[str]] = frozenset("P")

    def __post_init__(self) -> None:
        checks.non_negative("epsilon", self.epsilon)
        checks.floats(self, "epsilon")

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        hardest_pos, hardest_neg = pos.min(pos.sim), neg.max(neg.sim)
        # ε stands beside S_ij and not beside the extremum: rounding then falls as it does in PML,
        # and both mine the same pairs to the last one.
        keep_pos = pos.sim - self.epsilon < pos.expand(hardest_neg)
        return keep_pos, neg.sim + self.epsilon > neg.expand(hardest_pos)

    @override
    def negative_lower_bound(self, hardest_pos: Tensor) -> Tensor:
        return hardest_pos - self.epsilon
