"""A weighting that keeps its promises passes; each broken promise is named."""

from dataclasses import dataclass

import pytest
import torch

from pml_gpw.weightings import (
    BinomialDeviance,
    DenseRows,
    MultiSimilarity,
    PairWeighting,
    PairWeights,
    RowLoss,
    check_weighting,
)
from pml_gpw.weightings.check import check_trained

from ..cases import CASES


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_those_of_the_package_pass(case):
    check_weighting(case.weighting)


class Own(PairWeighting):
    def weigh(self, pos, neg):
        return self.given(pos, neg)


def own(formula):
    return dataclass(frozen=True)(
        type("Mine", (Own,), {"given": lambda self, p, n: formula(p, n)})
    )()


EXPAND = "expand"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (lambda p, n: PairWeights(p.sim, n.sim.abs()), "must give weights >= 0, got -.* positive"),
        (lambda p, n: PairWeights(p.sim.abs(), n.sim * torch.nan), "got nan for a negative pair"),
        (lambda p, n: PairWeights(p.sim.abs() / p.sum(p.sim.abs()), n.sim.abs()), EXPAND),
        (lambda p, n: PairWeights(p.count(), n.sim.abs()), EXPAND),
        (lambda p, n: PairWeights(p.sim.abs(), torch.softmax(n.sim, 1)), EXPAND),
        (lambda p, n: PairWeights(p.sim.abs(), n.sim.abs() / n.sim.abs().sum()), "same negative"),
        (lambda p, n: PairWeights(p.sim.abs(), torch.ones(3, 4)), EXPAND),
        (lambda p, n: (p.sim, n.sim), "must return PairWeights"),
    ],
)
def test_a_broken_promise_is_named(formula, said):
    with pytest.raises(ValueError, match=f"weighting Mine .*{said}"):
        check_weighting(own(formula))


@dataclass(frozen=True)
class NotTheDerivative(PairWeighting):
    """The weights of another loss than the one beside them."""

    def evaluate(self, pos, neg):
        losses = (pos.sum((1 - pos.sim) ** 2) + neg.sum((1 + neg.sim) ** 2)) / 2
        return losses, PairWeights(torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@dataclass(frozen=True)
class TheDerivative(PairWeighting):
    def evaluate(self, pos, neg):
        losses = (pos.sum((1 - pos.sim) ** 2) + neg.sum((1 + neg.sim) ** 2)) / 2
        return losses, PairWeights(1 - pos.sim, 1 + neg.sim)


def test_weights_are_the_derivative_of_the_losses():
    check_weighting(TheDerivative())
    with pytest.raises(ValueError, match="NotTheDerivative must be the derivative"):
        check_weighting(NotTheDerivative())


@dataclass(frozen=True)
class DenseOnly(MultiSimilarity):
    needs_dense = True

    def evaluate(self, pos, neg):
        assert isinstance(pos, DenseRows)
        return super().evaluate(pos, neg)


def test_a_formula_of_one_layout():
    check_weighting(DenseOnly())


def test_what_is_no_weighting():
    for value in (3, MultiSimilarity, BinomialDeviance):
        with pytest.raises(ValueError, match="must be a PairWeighting"):
            check_weighting(value)


@dataclass(frozen=True)
class LogOfNegatives(RowLoss):
    temperature: float = 0.1

    def loss(self, pos, neg):
        """Minus infinity for an anchor without negatives."""
        return neg.logsumexp(neg.sim / self.temperature)[0] - pos.mean(pos.sim)


def test_a_field_can_be_trained_where_anchors_without_negatives_have_an_infinite_loss():
    check_trained(LogOfNegatives(), "temperature")
