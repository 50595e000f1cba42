from dataclasses import dataclass, replace

import pytest
import torch

from pml_gpw import mining, weightings
from pml_gpw.weightings import MultiSimilarity, PairWeights

from .. import contract
from ..cases import CASES, EVERY_CASE, MINING_CASES


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", EVERY_CASE, ids=lambda c: c.name)
def test_contract(case, check):
    check(case)


COVERED = {type(c.weighting) for c in EVERY_CASE} | {type(c.mining) for c in MINING_CASES}


def test_every_public_weighting_and_mining_has_a_case():
    bases = weightings.PairWeighting, weightings.RowLoss, mining.PairMining
    public = [*vars(weightings).values(), *vars(mining).values()]
    rules = {c for c in public if isinstance(c, type) and issubclass(c, bases)}
    assert rules - {*bases} == COVERED


@dataclass(frozen=True)
class HalfWeights(MultiSimilarity):
    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(pos, neg)
        return losses, PairWeights(weights.pos / 2, weights.neg)


@dataclass(frozen=True)
class Swapped(MultiSimilarity):
    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(neg, pos)
        return losses, PairWeights(weights.neg, weights.pos)


@dataclass(frozen=True)
class Overflowing(MultiSimilarity):
    def evaluate(self, pos, neg):
        pos_exp = torch.exp(-self.alpha * (pos.sim - self.base))
        neg_exp = torch.exp(self.beta * (neg.sim - self.base))
        pos_sum, neg_sum = 1 + pos.sum(pos_exp), 1 + neg.sum(neg_exp)
        losses = pos_sum.log() / self.alpha + neg_sum.log() / self.beta
        return losses, PairWeights(pos_exp / pos.expand(pos_sum), neg_exp / neg.expand(neg_sum))


@dataclass(frozen=True)
class KeepsItsLevel(MultiSimilarity):
    def for_negated_distances(self):
        return self


@dataclass(frozen=True)
class SaysOnlyN(MultiSimilarity):
    similarities = frozenset("N")


WRONG = {
    KeepsItsLevel: "check_levels_are_negated_with_distances",
    SaysOnlyN: "check_declared_similarities_are_the_measured_ones",
    HalfWeights: "check_the_package_accepts_it check_numerical_gradient check_equals_oracle",
    Swapped: "check_hand_written_value check_equals_oracle",
    Overflowing: "check_extreme_similarities",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda c: c.__name__)
def test_a_wrong_formula_fails_the_contract(wrong):
    case = replace(CASES[-1], weighting=wrong())
    for name in WRONG[wrong].split():
        with pytest.raises((AssertionError, RuntimeError, ValueError)):
            getattr(contract, name)(case)
