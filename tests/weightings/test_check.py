"""A weighting that keeps its promises passes; each broken promise is named."""

from dataclasses import dataclass, field

import pytest
import torch

from pml_gpw.weightings import DenseRows, MultiSimilarity, PairWeighting, PairWeights
from pml_gpw.weightings.check import check_weighting


@dataclass(frozen=True)
class DenseOnly(MultiSimilarity):
    needs_dense = True

    def evaluate(self, pos, neg):
        assert isinstance(pos, DenseRows)
        return super().evaluate(pos, neg)


@dataclass(frozen=True)
class Derivative(PairWeighting):
    """The weights of its losses, or of half of them."""

    scale: float = 1.0

    def evaluate(self, pos, neg):
        losses = (pos.sum((1 - pos.sim) ** 2) + neg.sum((1 + neg.sim) ** 2)) / 2
        return losses, PairWeights(self.scale * (1 - pos.sim), self.scale * (1 + neg.sim))


@pytest.mark.parametrize("weighting", [DenseOnly(), Derivative()], ids=repr)
def test_those_that_keep_their_promises_pass(weighting):
    """And all of the package, by their contract."""
    check_weighting(weighting)


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


@pytest.mark.parametrize(
    ("weighting", "said"),
    [
        (Derivative(0.5), "Derivative must be the derivative"),
        (3, "must be a PairWeighting"),
        (MultiSimilarity, "must be a PairWeighting"),
    ],
)
def test_what_is_refused(weighting, said):
    with pytest.raises(ValueError, match=said):
        check_weighting(weighting)
