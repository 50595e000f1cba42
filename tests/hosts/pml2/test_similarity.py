"""Distances of PML read as similarities."""

import pytest
from pytorch_metric_learning import distances, losses, miners, reducers

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import Contrastive, LiftedStructure

from ...runs import close_runs, pairs_of_tuple, run
from ...tolerances import close

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


@pytest.mark.parametrize(
    ("weighting", "theirs"),
    [
        (LiftedStructure(margin=1.0), losses.GeneralizedLiftedStructureLoss),
        (Contrastive(margin=1.0), losses.ContrastiveLoss),
    ],
)
def test_other_weightings_read_distances_as_pml_does(batch, weighting, theirs):
    """Relative margins stay, levels change sign: the gradient is that of PML's own loss."""
    kwargs = {"neg_margin": 1, "pos_margin": 0, "distance": distances.LpDistance()}
    ours = run(
        GPWLoss(weighting, distance=distances.LpDistance(), reducer=reducers.SumReducer()), *batch
    )
    pml = run(theirs(reducer=reducers.SumReducer(), **kwargs), *batch)
    close(ours[1], pml[1])
