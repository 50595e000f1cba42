"""Losses as a user writes them: those of the benchmark, and some more."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import softplus

from benchmarks.data.row_losses import RowMultiSimilarity
from pml_gpw.weightings import Positive, RowLoss


@dataclass(frozen=True)
class SupCon(RowLoss):
    """Khosla et al. 2020: each positive against all other pairs of the anchor."""

    temperature: Positive = 0.1

    def loss(self, pos, neg):
        every = pos.union(neg)
        sums, _ = every.logsumexp(every.sim / self.temperature)
        losses = sums - pos.mean(pos.sim) / self.temperature
        return torch.where(pos.count() > 0, losses, 0.0)


@dataclass(frozen=True)
class NTXent(RowLoss):
    """Chen et al. 2020: each positive against the negatives of the anchor; summed."""

    temperature: Positive = 0.07

    def loss(self, pos, neg):
        hard, _ = neg.logsumexp(neg.sim / self.temperature)
        return pos.sum(softplus(pos.expand(hard) - pos.sim / self.temperature))


@dataclass(frozen=True)
class Circle(RowLoss):
    """Sun et al. 2020; the distances from the optimum are held constant."""

    m: float = 0.4
    gamma: Positive = 80.0

    def loss(self, pos, neg):
        far = (1 + self.m - pos.sim.detach()).clamp(min=0)
        near = (neg.sim.detach() + self.m).clamp(min=0)
        of_pos, _ = pos.logsumexp(-self.gamma * far * (pos.sim - 1 + self.m))
        of_neg, _ = neg.logsumexp(self.gamma * near * (neg.sim - self.m))
        return softplus(of_pos + of_neg)


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
