"""Contrastive loss, eq 4."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .pair_rows import Rows


@dataclass(frozen=True)
class Contrastive(PairWeighting):
    """Contrastive loss: positives weigh 1, negatives 1 while more similar than the margin.

    Equation (4), with λ = ``margin``:

    `L_i = Σ_{N_i} [S_ij − λ]_+ − Σ_{P_i} S_ij`

    The weights are 1 for a positive, and for a negative 1 where `S_ij > λ`, else 0. Uses S.
    Some implementations write `1 − S_ij` for a positive; the constant is left out here.
    Errors: ValueError for a margin that is not a finite number.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> Contrastive(margin=0.5).weights(torch.tensor([[0.9, 0.7, 0.3]]), positives, negatives)
    PairWeights(pos=tensor([[1., 0., 0.]]), neg=tensor([[0., 1., 0.]]))
    """

    margin: float = 0.5
    uses: ClassVar[frozenset[str]] = frozenset("S")
    levels: ClassVar[tuple[str, ...]] = ("margin",)

    def __post_init__(self) -> None:
        checks.finite("margin", self.margin)
        checks.floats(self, "margin")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        excess = neg.sim - neg.expand(self.margin)
        losses = neg.sum(excess.clamp(min=0)) - pos.sum(pos.sim)
        return losses, PairWeights(torch.ones_like(pos.sim), (excess > 0).to(excess.dtype))
