"""The k hardest negatives of each anchor."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from ..weightings import Rows
from .base import PairMining


@dataclass(frozen=True)
class HardestNegatives(PairMining):
    """Keep every positive and the k negatives of the largest similarity of each anchor.

    An anchor of fewer negatives keeps all; of equal similarities the lowest columns are taken.
    Uses N.
    Errors: ValueError for a ``k`` that is not an integer > 0.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.7, 0.5, 0.4]])
    >>> positives = torch.tensor([[True, False, False, False]])
    >>> HardestNegatives(k=2)(sim, positives, ~positives)[1]
    tensor([[False,  True,  True, False]])
    """

    k: int = 10
    uses: ClassVar[frozenset[str]] = frozenset("N")

    def __post_init__(self) -> None:
        checks.positive_integer("k", self.k)
        checks.integers(self, "k")

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        least = neg.expand(neg.kth_largest(neg.sim, self.k))
        above = neg.sim > least
        room = self.k - neg.sum(above.to(neg.sim.dtype)).long()
        keep_neg = above | neg.first(neg.sim == least, room)
        return torch.ones_like(pos.sim, dtype=torch.bool), keep_neg
