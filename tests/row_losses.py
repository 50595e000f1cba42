"""Losses as a user writes them: those of the benchmark, and some more."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import softplus

from benchmarks.data.row_losses import Circle, NTXent, RowMultiSimilarity, SupCon
from pml_gpw.weightings import Positive, RowLoss


@dataclass(frozen=True)
class Margin(RowLoss):
    """Wu et al. 2017, on similarities."""

    margin: float = 0.2
    beta: float = 0.4
    levels: ClassVar[tuple[str, ...]] = ("beta",)

    def loss(self, pos, neg):
        far = torch.relu(pos.expand(self.beta) - pos.sim + self.margin)
        near = torch.relu(neg.sim - neg.expand(self.beta) + self.margin)
        return pos.sum(far) + neg.sum(near)


@dataclass(frozen=True)
class Sigmoid(RowLoss):
    """Zhai et al. 2023."""

    t: Positive = 10.0
    b: float = -10.0

    def loss(self, pos, neg):
        far = softplus(-(self.t * pos.sim + self.b))
        return pos.sum(far) + neg.sum(softplus(self.t * neg.sim + self.b))


@dataclass(frozen=True)
class Hardest(RowLoss):
    """The triplet of the hardest pairs, of equal ones the first."""

    margin: float = 0.1

    def loss(self, pos, neg):
        both = (pos.count() > 0) & (neg.count() > 0)
        excess = neg.max(neg.sim) - pos.min(pos.sim) + self.margin
        return torch.where(both, torch.relu(torch.where(both, excess, 0.0)), 0.0)


ROW_LOSSES = [SupCon(), NTXent(), Circle(), RowMultiSimilarity(), Margin(), Sigmoid(), Hardest()]
