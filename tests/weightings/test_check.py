"""Each broken promise is named; that the package passes is in the contract."""

from dataclasses import dataclass, field

import pytest
import torch

from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights, RowLoss
from pml_gpw.weightings.check import check_trained, check_weighting


@dataclass(frozen=True)
class NotTheDerivative(PairWeighting):
    """Half of the weights of its losses."""

    def evaluate(self, pos, neg):
        losses = (pos.sum((1 - pos.sim) ** 2) + neg.sum((1 + neg.sim) ** 2)) / 2
        return losses, PairWeights((1 - pos.sim) / 2, (1 + neg.sim) / 2)


@dataclass(frozen=True)
class Mine(PairWeighting):
    formula: object = field(repr=False)

    def weigh(self, pos, neg):
        return self.formula(pos, neg)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (lambda p, n: PairWeights(p.sim, n.sim.abs()), "must give weights >= 0, got -.* positive"),
        (lambda p, n: PairWeights(p.sim.abs(), n.sim * torch.nan), "got nan for a negative pair"),
        (lambda p, n: PairWeights(p.sim.abs() / p.sum(p.sim.abs()), n.sim.abs()), "expand"),
        (lambda p, n: PairWeights(p.count(), n.sim.abs()), "expand"),
        (lambda p, n: PairWeights(p.sim.abs(), torch.softmax(n.sim, 1)), "expand"),
        (lambda p, n: PairWeights(p.sim.abs(), n.sim.abs() / n.sim.abs().sum()), "same negative"),
        (lambda p, n: PairWeights(p.sim.abs(), torch.ones(3, 4)), "expand"),
        (lambda p, n: (p.sim, n.sim), "must return PairWeights"),
    ],
)
def test_a_broken_promise_is_named(formula, said):
    with pytest.raises(ValueError, match=f"weighting Mine .*{said}"):
        check_weighting(Mine(formula))


@dataclass(frozen=True)
class OfAllAnchors(Mine):
    needs_dense = True  # so that there is no other layout that differs


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        (
            OfAllAnchors(lambda p, n: PairWeights(p.sim.abs(), n.sim.abs() / n.sim.abs().sum())),
            "by itself",
        ),
        (NotTheDerivative(), "NotTheDerivative must be the derivative"),
        (3, "must be a PairWeighting"),
        (MultiSimilarity, "must be a PairWeighting"),
    ],
)
def test_what_is_refused(weighting, said):
    with pytest.raises(ValueError, match=said):
        check_weighting(weighting)


@dataclass(frozen=True)
class LogOfNegatives(RowLoss):
    temperature: float = 0.1

    def loss(self, pos, neg):
        """Minus infinity for an anchor without negatives."""
        return neg.logsumexp(neg.sim / self.temperature)[0] - pos.mean(pos.sim)


def test_an_infinite_loss_of_an_anchor_without_negatives_is_named_and_can_be_trained():
    check_trained(LogOfNegatives(), "temperature")
    with pytest.raises(ValueError, match=r"must give finite losses, .* got .*-inf"):
        check_weighting(LogOfNegatives())
