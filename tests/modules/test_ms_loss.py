"""The two losses against PML's pair: references and tuples."""

import pytest
import torch
from pytorch_metric_learning import losses, miners

from pml_gpw import MSLoss, MSWeightedLoss
from pml_gpw.mining import MSMining

from ..runs import close_runs, run
from ..tolerances import close


@pytest.mark.parametrize("as_triplets", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("with_references", [False, True])
def test_tuples(batch, as_triplets, with_labels, with_references):
    x, labels = batch
    y = torch.randn(9, 6, generator=torch.Generator().manual_seed(5))
    references = (y, torch.arange(9) % 4) if with_references else (None, None)
    miner = miners.TripletMarginMiner() if as_triplets else miners.PairMarginMiner(0.2, 0.8)
    indices = miner(x, labels, *references)
    # references without their labels
    args = labels if with_labels else None, indices, references[0]
    close_runs(run(MSWeightedLoss(), x, *args), run(losses.MultiSimilarityLoss(), x, *args))


def test_own_mining_refines_a_tuple(batch):
    indices = miners.PairMarginMiner(0.2, 0.8)(*batch)
    pos, neg = (torch.zeros(12, 12, dtype=torch.bool) for _ in range(2))
    pos[indices[0], indices[1]], neg[indices[2], indices[3]] = True, True
    unit = torch.nn.functional.normalize(batch[0])
    pos, neg = MSMining(0.1)(unit @ unit.T, pos, neg)
    refined = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    close_runs(run(MSLoss(), *batch, indices), run(MSWeightedLoss(), *batch, refined))


def test_references_without_labels_carry_those_of_the_anchors(batch):
    x, labels = batch
    other = x + 1
    close(MSLoss()(x, labels, ref_emb=other), MSLoss()(x, labels, ref_emb=other, ref_labels=labels))
