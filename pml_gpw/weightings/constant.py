"""Every pair weighs 1."""

from dataclasses import dataclass

import torch
from typing_extensions import override

from .base import PairWeighting, PairWeights
from .pair_rows import Rows


@dataclass(frozen=True)
class Constant(PairWeighting):
    """Weight 1 for every pair: the row "none" of the ablation and, after mining, P.

    `w_ij = 1, L_i = Σ_{N_i} S_ij − Σ_{P_i} S_ij`

    This is eq 3 with weights of 1. Uses no similarity.

    >>> import torch
    >>> Constant().losses(torch.tensor([[0.8, 0.5]]), *torch.eye(2).bool()[:, None])
    tensor([-0.3000])
    """

    @override
    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        return PairWeights(torch.ones_like(pos.sim), torch.ones_like(neg.sim))
