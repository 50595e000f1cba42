"""Losses of the field as rows, each beside the loss of pytorch-metric-learning that it equals."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pml_gpw.weightings import Positive, RowLoss, Rows


@dataclass(frozen=True)
class SupCon(RowLoss):
    """Khosla et al. 2020: each positive against all other pairs of the anchor."""

    temperature: Positive = 0.1

    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        """log Σ e^(s/τ) over all pairs, less the mean s/τ of the positives."""
        every = pos.union(neg)
        sums, _ = every.logsumexp(every.sim / self.temperature)
        losses = sums - pos.mean(pos.sim) / self.temperature
        return torch.where(pos.count() > 0, losses, 0.0)


@dataclass(frozen=True)
class NTXent(RowLoss):
    """Chen et al. 2020: each positive against the negatives of the anchor; summed."""

    temperature: Positive = 0.07

    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        """Σ log(1 + e^(LSE of negatives − s/τ)) over positives."""
        hard, _ = neg.logsumexp(neg.sim / self.temperature)
        return pos.sum(softplus(pos.expand(hard) - pos.sim / self.temperature))


@dataclass(frozen=True)
class Circle(RowLoss):
    """Sun et al. 2020: similarities weighed by their distance from the optimum, held constant."""

    m: float = 0.4
    gamma: Positive = 80.0

    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        """softplus of the sum of both sides' logsumexp."""
        far = (1 + self.m - pos.sim.detach()).clamp(min=0)
        near = (neg.sim.detach() + self.m).clamp(min=0)
        of_pos, _ = pos.logsumexp(-self.gamma * far * (pos.sim - 1 + self.m))
        of_neg, _ = neg.logsumexp(self.gamma * near * (neg.sim - self.m))
        return softplus(of_pos + of_neg)


@dataclass(frozen=True)
class RowMultiSimilarity(RowLoss):
    """The Multi-Similarity loss without its weights written down."""

    alpha: Positive = 2.0
    beta: Positive = 50.0
    base: float = 0.5

    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        """Equation 15 for an anchor."""
        far = pos.softplus(-self.alpha * (pos.sim - self.base))
        near = neg.softplus(self.beta * (neg.sim - self.base))
        return far / self.alpha + near / self.beta
