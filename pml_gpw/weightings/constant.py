"""Every pair weighs 1."""

from dataclasses import dataclass

import torch

from .base import PairWeighting, PairWeights
from .rows import Rows


@dataclass(frozen=True)
class Constant(PairWeighting):
    """Weight 1 for every pair: the ablation's {} and, after mining, {P}.

    Equation: w_ij = 1; L_i = Σ_neg S_ij − Σ_pos S_ij (eq 3 with w = 1). Uses no similarity.
    """

    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        """See :class:`~pml_gpw.weightings.base.PairWeighting`."""
        return PairWeights(torch.ones_like(pos.sim), torch.ones_like(neg.sim))
