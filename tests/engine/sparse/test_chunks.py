"""Mined pairs of batches beyond one chunk: the pair set of PML, in the order of rows."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import MSMiner

from ...runs import pairs_of_tuple
from ..batches import clusters


@pytest.mark.parametrize("noise", [0.1, 0.3, 3.0], ids=["few", "some", "most kept"])
@pytest.mark.parametrize(("epsilon", "normalize"), [(0.0, True), (0.1, True), (0.1, False)])
def test_pairs_are_those_of_pml(noise, epsilon, normalize):
    x, labels = clusters(500, noise)
    distance = DotProductSimilarity(normalize_embeddings=normalize)
    for references in ((), clusters(700, noise)):
        mined = MSMiner(epsilon, chunk_size=64, distance=distance)(x, labels, *references)
        theirs = MultiSimilarityMiner(epsilon, distance=distance)(x, labels, *references)
        assert pairs_of_tuple(mined) == pairs_of_tuple(theirs)
        for anchor, other in (mined[:2], mined[2:]):
            places = anchor * 700 + other
            assert (places[1:] > places[:-1]).all()


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_mine(n, m):
    batch = torch.rand(n, 3), torch.arange(n), torch.rand(m, 3), torch.arange(m)
    for given in ({}, {"own": torch.full((n,), -1)}):
        assert [len(index) for index in MSMiner()(*batch, **given)] == [0] * 4
