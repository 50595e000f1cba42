"""Distances of PML read as similarities."""

import pytest
from pytorch_metric_learning import distances, losses, miners

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss

from ...runs import close_runs, pairs_of_tuple, run

DISTANCES = {
    "cosine": distances.CosineSimilarity(),
    "dot": distances.DotProductSimilarity(normalize_embeddings=False),
    "euclidean": distances.LpDistance(),
    "squared": distances.LpDistance(power=2),
    "manhattan": distances.LpDistance(p=1, normalize_embeddings=False),
    "snr": distances.SNRDistance(),
}


@pytest.mark.parametrize("name", DISTANCES)
def test_every_distance(batch, name):
    distance = DISTANCES[name]
    mine, theirs = MSMiner(distance=distance), miners.MultiSimilarityMiner(distance=distance)
    assert pairs_of_tuple(mine(*batch)) == pairs_of_tuple(theirs(*batch))
    expected = run(losses.MultiSimilarityLoss(distance=distance), *batch, theirs(*batch))
    close_runs(run(MSWeightedLoss(distance=distance), *batch, mine(*batch)), expected)
    close_runs(run(MSLoss(distance=distance), *batch), expected)
