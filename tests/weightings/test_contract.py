from dataclasses import dataclass, replace

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance

import pml_gpw.weightings
from pml_gpw import GPWLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import LiftedStructure, MultiSimilarity, PairWeighting, PairWeights

from .. import contract
from ..cases import CASES


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_contract(case, check):
    check(case)


def test_every_public_weighting_has_a_case():
    public = {
        value
        for value in vars(pml_gpw.weightings).values()
        if isinstance(value, type) and issubclass(value, PairWeighting)
    } - {PairWeighting}
    assert public == {type(case.weighting) for case in CASES}


@dataclass(frozen=True)
class NoOne(MultiSimilarity):
    """Wrong: Multi-Similarity that forgets the 1 in its sums (it is lifted structure then)."""

    def evaluate(self, pos, neg):
        return LiftedStructure(self.alpha, self.beta, margin=None).evaluate(pos, neg)


@dataclass(frozen=True)
class HalfWeights(MultiSimilarity):
    """Wrong: weights that are not the gradient of the loss beside them."""

    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(pos, neg)
        return losses, PairWeights(weights.pos / 2, weights.neg)


@dataclass(frozen=True)
class Swapped(MultiSimilarity):
    """Wrong: positives weighed as negatives and the other way round."""

    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(neg, pos)
        return losses, PairWeights(weights.neg, weights.pos)


@dataclass(frozen=True)
class Overflowing(MultiSimilarity):
    """Wrong: exponentials without the log-sum-exp shift."""

    def evaluate(self, pos, neg):
        pos_exp = torch.exp(-self.alpha * (pos.sim - self.base))
        neg_exp = torch.exp(self.beta * (neg.sim - self.base))
        pos_sum, neg_sum = 1 + pos.sum(pos_exp), 1 + neg.sum(neg_exp)
        losses = pos_sum.log() / self.alpha + neg_sum.log() / self.beta
        weights = PairWeights(pos_exp / pos.expand(pos_sum), neg_exp / neg.expand(neg_sum))
        return losses, weights


@dataclass(frozen=True)
class ReadsOffTheMask(MultiSimilarity):
    """Wrong: sums over the whole row, masked pairs included."""

    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(pos, neg)
        return losses + neg.sim.mean(), weights


@dataclass(frozen=True)
class KeepsItsLevel(MultiSimilarity):
    """Wrong: reads distances with the level of similarities."""

    def for_negated_distances(self):
        return self


@dataclass(frozen=True)
class SaysOnlyN(MultiSimilarity):
    """Wrong: declares less than it looks at."""

    similarities = frozenset("N")


WRONG = {
    KeepsItsLevel: "check_levels_are_negated_with_distances",
    SaysOnlyN: "check_declared_similarities_are_the_measured_ones",
    NoOne: "check_hand_written_value check_equals_oracle",
    HalfWeights: "check_weights_are_the_gradient check_numerical_gradient check_equals_oracle",
    Swapped: "check_hand_written_value check_equals_oracle",
    Overflowing: "check_extreme_similarities",
    ReadsOffTheMask: "check_weights_are_the_gradient check_equals_oracle",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda c: c.__name__)
def test_a_wrong_formula_fails_the_contract(wrong):
    right = CASES[-1]
    assert type(right.weighting) is MultiSimilarity
    case = replace(right, weighting=wrong())
    for name in WRONG[wrong].split():
        with pytest.raises((AssertionError, RuntimeError, ValueError)):
            getattr(contract, name)(case)


def test_weights_alone_are_enough():
    @dataclass(frozen=True)
    class ByHardness(PairWeighting):
        power: float = 2.0

        def weigh(self, pos, neg):
            return PairWeights((1 - pos.sim) ** self.power, (1 + neg.sim) ** self.power)

    x, labels = contract.random_batch()
    sim, (pos, neg) = x @ x.T, contract.oracles.pairs_of(labels)
    weights = ByHardness().weights(sim, pos, neg)
    losses, signed = contract.signed_gradient(
        lambda s: contract.dense_losses(s, pos, neg, ByHardness()), sim
    )
    contract.close(signed, weights.neg - weights.pos)
    contract.close(losses, ((weights.neg - weights.pos) * sim).sum(dim=1))  # eq 3
    contract.close(
        signed, contract.signed_gradient(lambda s: ByHardness().losses(s, pos, neg), sim)[1]
    )


@dataclass(frozen=True)
class Returns(PairWeighting):
    """What ``weigh`` makes of similarities, by name."""

    what: str = "negative"

    def weigh(self, pos, neg):
        given = {
            "negative": lambda: PairWeights(pos.sim + 2, neg.sim - 5),
            "NaN": lambda: PairWeights(pos.sim * torch.nan, neg.sim + 2),
            "a tuple": lambda: (pos.sim + 2, neg.sim + 2),
            "one tensor": lambda: neg.sim + 2,
        }
        return given[self.what]()


@pytest.mark.parametrize(
    "distance", [CosineSimilarity(), LpDistance()], ids=lambda d: type(d).__name__
)
@pytest.mark.parametrize("layout", ["dense", "searched", "sparse"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("negative", "give weights >= 0, got a weight of -"),
        ("NaN", "give weights >= 0, got NaN"),
        ("a tuple", r"return PairWeights\(pos, neg\), got tuple"),
        ("one tensor", r"return PairWeights\(pos, neg\), got Tensor"),
    ],
)
def test_what_is_no_weight_names_the_weighting(what, message, layout, distance):
    x, labels = contract.random_batch()
    for mining in (None, MSMining(0.1)):
        loss = GPWLoss(Returns(what), mining, chunk_size=5, distance=distance)
        loss.layout = layout
        with pytest.raises(ValueError, match=f"weighting Returns must {message}"):
            loss(x.requires_grad_(), labels)


def test_a_weighting_without_a_formula_is_refused():
    with pytest.raises(TypeError, match="must override weigh or evaluate"):

        class Nothing(PairWeighting):
            pass


@pytest.mark.parametrize(
    ("name", "values"), [("paper", (2, 50, 1)), ("official", (2, 40, 0.5)), ("pml", (2, 50, 0.5))]
)
def test_presets(name, values):
    preset = MultiSimilarity.preset(name)
    assert (preset.alpha, preset.beta, preset.base) == values


def test_multi_similarity_tends_to_lifted_structure():
    """Far from λ the 1 does not count: both losses differ by a constant, the weights agree."""
    x, labels = contract.random_batch()
    sim, (pos, neg) = x @ x.T, contract.oracles.pairs_of(labels)
    lifted = LiftedStructure(2, 50, margin=None).weights(sim, pos, neg)
    complete = pos.any(dim=1) & neg.any(dim=1)
    far_above = MultiSimilarity(2, 50, base=20).weights(sim, pos, neg)
    far_below = MultiSimilarity(2, 50, base=-20).weights(sim, pos, neg)
    contract.close(far_above.pos[complete], lifted.pos[complete])
    contract.close(far_below.neg[complete], lifted.neg[complete])
