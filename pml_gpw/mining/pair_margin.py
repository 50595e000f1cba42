"""Pairs on the wrong side of a margin."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self, override

from .. import checks
from ..weightings import Rows
from .base import PairMining


@dataclass(frozen=True)
class PairMarginMining(PairMining):
    """Keep positives below one similarity and negatives above another.

    A positive stays if `S_ij < λ⁺` (``pos_margin``), a negative if `S_ij > λ⁻` (``neg_margin``).
    Uses S. The rule of ``PairMarginMiner`` in pytorch-metric-learning; with a distance D the
    margins are distances: a positive stays if `D > λ⁺`, a negative if `D < λ⁻`.
    Errors: ValueError for a margin that is not a finite number.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.55, 0.4]])
    >>> rule = PairMarginMining(pos_margin=0.8, neg_margin=0.5)
    >>> rule(sim, torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1])
    (tensor([[ True, False, False]]), tensor([[False,  True, False]]))
    """

    pos_margin: float = 0.8
    neg_margin: float = 0.2
    uses: ClassVar[frozenset[str]] = frozenset("S")

    def __post_init__(self) -> None:
        checks.finite("pos_margin", self.pos_margin)
        checks.finite("neg_margin", self.neg_margin)
        checks.floats(self, "pos_margin", "neg_margin")

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        return pos.sim < self.pos_margin, neg.sim > self.neg_margin

    @override
    def for_negated_distances(self) -> Self:
        return replace(self, pos_margin=-self.pos_margin, neg_margin=-self.neg_margin)

    @override
    def negative_lower_bound(self, hardest_pos: Tensor) -> Tensor:
        return torch.full_like(hardest_pos, self.neg_margin)
