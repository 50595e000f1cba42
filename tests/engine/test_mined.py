"""Mined pairs of batches beyond one chunk: the pair set of PML, row by row, and no matrix."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.miners import MultiSimilarityMiner

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining

from ..tolerances import close
from .test_streamed import LargestTensor


def clusters(n, noise, dims=16, dtype=torch.float64):
    """Five of each class around its centre; every 50th has a class of its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) // 5
    x = torch.randn(n // 5, dims, generator=generator, dtype=dtype)[labels]
    x = x + noise * torch.randn(n, dims, generator=generator, dtype=dtype)
    labels[::50] = n + torch.arange(len(labels[::50]))
    order = torch.randperm(n, generator=generator)
    return x[order], labels[order]


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


@pytest.mark.parametrize("noise", [0.1, 3.0], ids=["few", "most kept"])
def test_streamed_composed_and_one_chunk_agree(noise):
    x, labels = clusters(1000, noise)

    def outcome(value, leaf):
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    x.requires_grad_()
    expected = outcome(MSLoss(chunk_size=1000)(x, labels), x)
    for value in (
        MSLoss(chunk_size=64)(x, labels),
        MSWeightedLoss(chunk_size=64)(x, labels, MSMiner()(x, labels)),
    ):
        for a, b in zip(outcome(value, x), expected, strict=True):
            close(a, b)


def test_neither_tuples_nor_memories_hold_the_matrix():
    x, labels = clusters(1000, 0.1, dtype=torch.float32)
    x.requires_grad_()
    miner, loss = MSMiner(chunk_size=64), MSWeightedLoss(chunk_size=64)
    memory = CrossBatchMemory(MSLoss(chunk_size=64), 16, 4000)
    memory.embedding_memory.copy_(x.detach().repeat(4, 1))
    memory.label_memory.copy_(labels.repeat(4))
    memory.has_been_filled = True
    for step, largest in (
        (lambda: loss(x, labels, miner(x, labels)), 64 * 1000),
        (lambda: memory(x, labels), 64 * 4000),
    ):
        with LargestTensor() as seen:
            step().backward()
        assert seen.numel <= 2 * largest


@pytest.mark.parametrize("flip", [False, True])
def test_pairs_named_both_positive_and_negative(flip):
    x, labels = clusters(500, 0.3)
    one, other = torch.tensor([3]), torch.tensor([7])
    many = torch.arange(100)
    pairs = (torch.cat([many, one]), torch.cat([many + 100, other]), one, other)
    with pytest.raises(ValueError, match="both positive and negative"):
        MSWeightedLoss()(x, labels, pairs[2:] + pairs[:2] if flip else pairs)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_mine(n, m):
    pairs = MSMiner()(torch.rand(n, 3), torch.arange(n), torch.rand(m, 3), torch.arange(m))
    assert [len(index) for index in pairs] == [0] * 4


@pytest.mark.parametrize("chunk", [64, 500], ids=["chunks", "one chunk"])
def test_the_same_references_with_other_labels_or_copies(chunk):
    """Then the relation of a pair is not symmetric, and half the product is not enough."""
    x, labels = clusters(500, 0.1)
    other = labels.clone()
    other[:50] = labels[50:100]
    nowhere = torch.full((500,), -1)
    for arguments in (
        {"ref_emb": x, "ref_labels": other},
        {"own": nowhere},
        {"own": torch.where(torch.arange(500) < 250, torch.arange(500), -1)},
    ):
        mined = MSMiner(0.05, chunk_size=chunk)(x, labels, **arguments)
        unit = torch.nn.functional.normalize(x)
        ref_labels = arguments.get("ref_labels", labels)
        own = arguments.get("own", torch.arange(500))
        pos, neg = MSMining(0.05)(unit @ unit.T, *label_masks(labels, ref_labels, own))
        assert (len(mined[0]), len(mined[2])) == (pos.sum(), neg.sum())
        assert pos[mined[0], mined[1]].all()
        assert neg[mined[2], mined[3]].all()
        close(
            MSLoss(epsilon=0.05, chunk_size=chunk)(x, labels, **arguments),
            MSWeightedLoss()(x, labels, mined, x),
        )


def test_own_of_no_references():
    pairs = MSMiner()(
        torch.rand(3, 2),
        torch.arange(3),
        torch.rand(0, 2),
        torch.arange(0),
        own=torch.full((3,), -1),
    )
    assert [len(index) for index in pairs] == [0] * 4


def test_no_gradient_is_formed_where_none_is_asked_for(monkeypatch):
    x, labels = clusters(300, 0.1)
    formed = []
    monkeypatch.setattr(
        "pml_gpw.engine.streaming.GradientProducts", lambda *args: formed.append(args)
    )
    with torch.no_grad():
        distance = DotProductSimilarity(normalize_embeddings=False)
        MSLoss(distance=distance)(x.requires_grad_(), labels)
    assert not formed
