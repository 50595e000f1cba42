"""Which pairs are worth weighing: Similarity-P mining on masks, eq 11-12."""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import checks


@dataclass(frozen=True)
class MSMining:
    """Keep the pairs that are hard relative to the anchor's hardest pair of the other kind.

    Equation (11): a negative stays if S_ij > min_{k ∈ P_i} S_ik − ε;
    eq (12): a positive stays if S_ij < max_{k ∈ N_i} S_ik + ε. Uses P.

    A larger ε (``epsilon``, ≥ 0, in units of similarity) keeps more pairs. An anchor without
    positives or without negatives keeps nothing. Row minimum and maximum, no sorting.
    Errors: ValueError for ε < 0.
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        checks.non_negative("epsilon", self.epsilon)

    def __call__(self, sim: Tensor, pos: Tensor, neg: Tensor) -> tuple[Tensor, Tensor]:
        """The masks of mined positives and negatives; ``sim``, ``pos``, ``neg``: (C, M)."""
        if sim.shape[1] == 0:
            return pos, neg
        hardest_pos = torch.where(pos, sim, torch.inf).amin(dim=1, keepdim=True)
        hardest_neg = torch.where(neg, sim, -torch.inf).amax(dim=1, keepdim=True)
        return pos & self.keeps_pos(sim, hardest_neg), neg & self.keeps_neg(sim, hardest_pos)

    # ε stands beside S_ij and not beside the extremum: rounding then falls as it does in the host,
    # and both mine the same pairs to the last one.

    def keeps_pos(self, sim: Tensor, hardest_neg: Tensor) -> Tensor:
        """Eq (12) for positives of similarity ``sim``, given max_{k ∈ N_i} S_ik of their rows."""
        return sim - self.epsilon < hardest_neg

    def keeps_neg(self, sim: Tensor, hardest_pos: Tensor) -> Tensor:
        """Eq (11) for negatives of similarity ``sim``, given min_{k ∈ P_i} S_ik of their rows."""
        return sim + self.epsilon > hardest_pos
