"""The hardest positive and the hardest negative of each anchor."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from ..weightings import Rows
from .base import PairMining
from .easy_hard import HARD, EasyHardMining

_HARDEST = EasyHardMining(HARD, HARD)


@dataclass(frozen=True)
class BatchHardMining(PairMining):
    """Keep the positive of the smallest and the negative of the largest similarity of each anchor.

    An anchor without positives or without negatives keeps nothing; of equal similarities the lowest
    column is taken. Uses N. The rule of ``BatchHardMiner`` in pytorch-metric-learning, which lists
    the same pairs as triplets.

    Reference: Hermans et al., In Defense of the Triplet Loss, 2017.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.7, 0.5, 0.4]])
    >>> positives = torch.tensor([[True, True, False, False]])
    >>> BatchHardMining()(sim, positives, ~positives)
    (tensor([[ True, False, False, False]]), tensor([[False, False,  True, False]]))
    """

    uses: ClassVar[frozenset[str]] = frozenset("N")

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        return _HARDEST.select(pos, neg)
