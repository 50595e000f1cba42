"""The programs of the engine against the dense autograd twin; none holds the whole matrix."""

import pytest
import torch
from pytorch_metric_learning.reducers import DoNothingReducer
from torch.nn.functional import normalize

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.engine import (
    IndexPairs,
    InnerProduct,
    LabelPairs,
    PairBatch,
    Plan,
    anchor_losses,
    reference_losses,
)
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.engine.reduction import MEAN, NONE
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..cases import CASES
from ..probes import LargestTensor
from ..tolerances import close
from .batches import clusters, embed

MININGS = [None, MSMining(0.0), MSMining(0.1), MSMining(0.7)]
UPSTREAMS = {
    "mean": lambda n: torch.full((n,), 1 / n),
    "sum": torch.ones,
    "per_anchor": lambda n: torch.linspace(-1, 2, n),
}


@pytest.fixture(params=["dense", "sparse rows", "sparse batch"])
def layout(request):
    return request.param


def gradients(losses, leaves, upstream):
    return losses.detach(), *torch.autograd.grad(losses, leaves, upstream.to(losses.dtype))


def pairs_and_masks(labels, ref_labels, own, listed):
    """Candidates, and their masks; listed ones are every other pair, in disorder, some twice."""
    columns = torch.arange(len(labels)) if own else None
    masks = label_masks(labels, ref_labels, columns)
    if not listed:
        return LabelPairs(labels, ref_labels, columns, symmetric=own), masks
    some = (torch.arange(masks[0].numel()) % 2 == 0).view_as(masks[0])
    masks = tuple(mask & some for mask in masks)
    pairs = []
    for mask in masks:
        row, column = mask.nonzero(as_tuple=True)
        pairs.append((torch.cat([row.flip(0), row[:5]]), torch.cat([column.flip(0), column[:5]])))
    return IndexPairs.of((*pairs[0], *pairs[1]), tuple(masks[0].shape)), masks


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("own", [True, False], ids=["self", "references"])
@pytest.mark.parametrize("listed", [False, True], ids=["labelled", "listed"])
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equals_the_dense_reference(case, mining, own, listed, dtype, layout):
    x, labels = embed(33, 0, dtype)
    y, ref_labels = (x, labels) if own else embed(50, 1, dtype)
    x.requires_grad_()
    y = x if own else y.requires_grad_()
    leaves = [x] if own else [x, y]
    candidates, masks = pairs_and_masks(labels, ref_labels, own, listed)
    tolerance = None if dtype == torch.float64 else 2e-5
    sim = x @ y.T
    kept = masks if mining is None else mining(sim.detach(), *masks)
    expected = reference_losses(sim, *masks, case.weighting, mining)
    for name, make in UPSTREAMS.items():
        upstream = make(len(x))
        wanted = (
            expected.detach(),
            *torch.autograd.grad(expected, leaves, upstream.to(dtype), retain_graph=True),
        )
        for chunk_size in (1, 7, 33, 40):
            losses, num_pos, num_neg = anchor_losses(
                PairBatch(x, y, candidates),
                case.weighting,
                mining,
                InnerProduct(normalized=False),
                Plan(chunk_size, layout),
                NONE if name == "per_anchor" else MEAN,
            )
            assert not num_pos.requires_grad
            assert not num_neg.requires_grad
            for a, b in zip(gradients(losses, leaves, upstream), wanted, strict=True):
                close(a, b, tolerance)
            if dtype == torch.float64:
                assert num_pos.tolist() == kept[0].sum(dim=1).tolist(), name
                assert num_neg.tolist() == kept[1].sum(dim=1).tolist(), name


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("own", [True, False], ids=["self", "references"])
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_half_precision(case, mining, own, dtype, layout):
    """The loss of half-precision embeddings is that of float64 to float32's rounding; gradients
    come back in half precision and are off by its last digit."""
    x, labels = embed(33, 0, dtype)
    y, ref_labels = (x, labels) if own else embed(50, 1, dtype)
    x.requires_grad_()
    columns = torch.arange(33) if own else None
    masks = label_masks(labels, ref_labels, columns)
    leaf = x.detach().double().requires_grad_()
    wide = normalize(leaf, dim=1)
    other = wide if own else normalize(y.double(), dim=1)
    expected = reference_losses(wide @ other.T, *masks, case.weighting, mining)
    references = {} if own else {"ref_emb": y, "ref_labels": ref_labels}
    for name, make in UPSTREAMS.items():
        upstream = make(33)
        for chunk_size in (1, 7, 33, 40):
            loss = GPWLoss(case.weighting, mining, chunk_size, reducer=DoNothingReducer())
            loss.layout = layout
            losses = loss(x, labels, **references)["loss"]["losses"]
            assert losses.dtype == torch.float32, name
            close(losses, expected, 2e-5)
            actual, wanted = (
                torch.autograd.grad(value, e, upstream.to(value.dtype), retain_graph=True)[0]
                for value, e in ((losses, x), (expected, leaf))
            )
            assert actual.dtype == dtype
            close(actual, wanted, torch.finfo(dtype).eps)


@pytest.mark.parametrize("mining", [None, MSMining(0.1)], ids=repr)
@pytest.mark.parametrize("uniform", [True, False])
def test_the_matrix_is_never_held(mining, uniform):
    n, chunk_size = 400, 10
    x, labels = embed(n, 0, torch.float32)
    x.requires_grad_()
    loss = GPWLoss(MultiSimilarity(), mining, chunk_size=chunk_size, reducer=DoNothingReducer())
    with LargestTensor() as seen:
        losses = loss(x, labels)["loss"]["losses"]
        losses.backward(torch.ones(n) if uniform else torch.rand(n))
    assert seen.numel <= 2 * chunk_size * n
    with LargestTensor() as seen:
        MSLoss(chunk_size=n)(x, labels)
    assert seen.numel >= n * n, "the probe sees nothing"


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
