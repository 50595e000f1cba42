from dataclasses import dataclass

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance

from pml_gpw import GPWLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights

from .. import contract


@dataclass(frozen=True)
class Returns(PairWeighting):
    """Weights that are plainly wrong."""

    neg: float

    def weigh(self, pos, neg):
        return PairWeights(pos.sim + 2, neg.sim + self.neg)


@pytest.mark.parametrize(
    "distance", [CosineSimilarity(), LpDistance()], ids=lambda d: type(d).__name__
)
@pytest.mark.parametrize("layout", ["dense", "sparse rows", "sparse batch"])
@pytest.mark.parametrize(("neg", "got"), [(-5, "a weight of -"), (float("nan"), "NaN")])
def test_what_is_no_weight_names_the_weighting(neg, got, layout, distance):
    x, labels = contract.random_batch()
    for mining in (None, MSMining(0.1)):
        loss = GPWLoss(Returns(neg), mining, chunk_size=5, distance=distance)
        loss.layout = layout
        with pytest.raises(
            ValueError, match=f"weighting Returns must give weights >= 0, got {got}"
        ):
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
