"""Mined pairs of batches beyond one chunk: the pair set of PML, in the order of rows."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import MSMiner

from ..batches import clusters


def in_order(pairs, columns):
    places = pairs[0] * columns + pairs[1]
    return bool((places[1:] > places[:-1]).all())


@pytest.mark.parametrize("noise", [0.1, 0.3, 3.0], ids=["few", "some", "most kept"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("normalize", [True, False], ids=["cosine", "dot"])
def test_pairs_are_those_of_pml(noise, epsilon, normalize):
    x, labels = clusters(500, noise)
    distance = DotProductSimilarity(normalize_embeddings=normalize)
    refs, ref_labels = clusters(700, noise)
    for references in ({}, {"ref_emb": refs, "ref_labels": ref_labels}):
        actual = MSMiner(epsilon, chunk_size=64, distance=distance)(x, labels, **references)
        theirs = MultiSimilarityMiner(epsilon, distance=distance)(x, labels, **references)
        columns = len(references.get("ref_emb", x))
        for ours, expected in ((actual[:2], theirs[:2]), (actual[2:], theirs[2:])):
            assert in_order(ours, columns)
            mine, host = (set(zip(*(i.tolist() for i in p), strict=True)) for p in (ours, expected))
            assert mine == host


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_mine(n, m):
    pairs = MSMiner()(torch.rand(n, 3), torch.arange(n), torch.rand(m, 3), torch.arange(m))
    assert [len(index) for index in pairs] == [0] * 4


def test_own_of_no_references():
    pairs = MSMiner()(
        torch.rand(3, 2),
        torch.arange(3),
        torch.rand(0, 2),
        torch.arange(0),
        own=torch.full((3,), -1),
    )
    assert [len(index) for index in pairs] == [0] * 4
