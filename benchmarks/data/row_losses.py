"""The Multi-Similarity loss as a row, beside the same with its weights written down."""

from dataclasses import dataclass

from torch import Tensor

from pml_gpw.weightings import Positive, RowLoss, Rows


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
