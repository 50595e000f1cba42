"""The two losses against PML's pair: references, tuples, and what their constructors refuse."""

import pytest
import torch
from pytorch_metric_learning import losses, miners

from pml_gpw import MSLoss, MSWeightedLoss
from pml_gpw.mining import MSMining

from ..runs import close_runs, run
from ..tolerances import close


@pytest.fixture
def references():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(9, 6, generator=generator), torch.arange(9) % 4


@pytest.mark.parametrize("as_triplets", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("with_references", [False, True])
def test_tuples(batch, references, as_triplets, with_labels, with_references):
    x, labels = batch
    refs = references if with_references else (None, None)
    miner = miners.TripletMarginMiner() if as_triplets else miners.PairMarginMiner(0.2, 0.8)
    indices = miner(x, labels, *refs)
    args = (labels if with_labels else None, indices, refs[0])  # references without their labels
    close_runs(run(MSWeightedLoss(), x, *args), run(losses.MultiSimilarityLoss(), x, *args))


def test_own_mining_refines_a_tuple(batch):
    indices = miners.PairMarginMiner(0.2, 0.8)(*batch)
    both = run(MSLoss(), *batch, indices)
    pos, neg = (torch.zeros(12, 12, dtype=torch.bool) for _ in range(2))
    pos[indices[0], indices[1]], neg[indices[2], indices[3]] = True, True
    unit = torch.nn.functional.normalize(batch[0])
    pos, neg = MSMining(0.1)(unit @ unit.T, pos, neg)
    refined = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    close_runs(both, run(MSWeightedLoss(), *batch, refined))


def test_references_without_labels_carry_those_of_the_anchors(batch):
    x, labels = batch
    other = x + 1
    close(MSLoss()(x, labels, ref_emb=other), MSLoss()(x, labels, ref_emb=other, ref_labels=labels))


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (MSLoss, {"epsilon": -1}, "epsilon must be a finite number >= 0, got -1"),
        (MSLoss, {"alpha": 0}, "alpha must be a finite number > 0, got 0"),
        (MSWeightedLoss, {"beta": -2}, "beta must be a finite number > 0, got -2"),
        (MSWeightedLoss, {"base": float("inf")}, "base must be a finite number, got inf"),
        (MSWeightedLoss, {"alpha": "2"}, "alpha must be .*, got '2'"),
    ],
)
def test_bad_arguments(loss, settings, message):
    with pytest.raises(ValueError, match=message):
        loss(**settings)
