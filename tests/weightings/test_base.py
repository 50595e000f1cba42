from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance

from pml_gpw import GPWLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights

from .. import contract


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


def test_a_weighting_without_a_formula_is_refused():
    with pytest.raises(TypeError, match="must override weigh or evaluate"):

        class Nothing(PairWeighting):
            pass


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
@pytest.mark.parametrize("layout", ["dense", "sparse rows", "sparse batch"])
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


SIM, MASK = torch.rand(3, 4), torch.ones(3, 4).bool()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SIM, MASK[:2], MASK), r"pos must be a tensor of \(3, 4\) booleans, got .* \(2, 4\)"),
        ((SIM, MASK, MASK.float()), "neg must be a tensor of .* booleans, got torch.float32"),
        ((SIM * torch.nan, MASK, ~MASK), "sim must be numbers, got NaN in 12 places"),
        ((SIM.long(), MASK, ~MASK), "sim must be a floating-point tensor .C, M., got torch.int64"),
        ((SIM[0], MASK, ~MASK), r"sim must be a floating-point tensor .C, M., got .* \(4,\)"),
        ((SIM.tolist(), MASK, ~MASK), "sim must be a floating-point tensor .C, M., got list"),
    ],
)
def test_matrices_are_checked(arguments, message):
    for function in (MultiSimilarity().weights, MultiSimilarity().losses, MSMining()):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


@dataclass(frozen=True)
class OneForEachAnchor(PairWeighting):
    """Wrong: in a square matrix its values would pass for those of columns."""

    def weigh(self, pos, neg):
        return PairWeights(pos.count(), neg.sim.abs())


def test_values_of_anchors_are_no_weights_of_pairs():
    sim, positives = torch.rand(4, 4), torch.eye(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"OneForEachAnchor .* each pair, .*\(4,\).*expand"):
        OneForEachAnchor().weights(sim, positives, ~positives)
    with pytest.raises(ValueError, match="OneForEachAnchor must return a value for each pair"):
        GPWLoss(OneForEachAnchor())(torch.randn(4, 2), torch.tensor([0, 0, 1, 1]))
