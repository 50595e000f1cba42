"""Every pair weighs 1."""

from dataclasses import dataclass

import torch
from typing_extensions import override

from .base import PairWeighting, PairWeights
from .pair_rows import Rows


@dataclass(frozen=True)
class Constant(PairWeighting):
    """Weight 1 for every pair: the ablation's {} and, after mining, {P}.

    Equation: w_ij = 1; L_i = Σ_neg S_ij − Σ_pos S_ij (eq 3 with w = 1). Uses no similarity.

    >>> import torch
    >>> Constant().losses(torch.tensor([[0.8, 0.5]]), *torch.eye(2).bool()[:, None])
    tensor([-0.3000])
    """

    @override
    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        return PairWeights(torch.ones_like(pos.sim), torch.ones_like(neg.sim))
