"""The programs of the engine against the dense autograd twin; none holds the whole matrix."""

import pytest
import torch
from pytorch_metric_learning.reducers import DoNothingReducer

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, losses
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
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.engine.reduction import MEAN, NONE
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..cases import EVERY_CASE, FIELD_CASES
from ..covering import covering, named
from ..probes import LargestTensor
from ..runs import close_runs, run
from ..tolerances import close
from .batches import clusters, embed

MININGS = [None, MSMining(0.0), MSMining(0.1), MSMining(0.7)]


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


COMBINATIONS = EVERY_CASE, MININGS, (False, True), (True, False), ("double", "single"), LAYOUTS[1:]


@pytest.mark.parametrize(
    ("case", "mining", "listed", "own", "precision", "layout"),
    covering(*COMBINATIONS, one_in=7, quick=5),
    ids=named,
)
def test_equals_the_dense_reference(case, mining, listed, own, precision, layout):
    """Losses, numbers of pairs and gradients, of labelled and of listed pairs, with each other and
    with references, below a mean and with an upstream gradient of each anchor's own."""
    dtype = torch.float64 if precision == "double" else torch.float32
    x, labels = embed(33, 0, dtype)
    y, ref_labels = (x, labels) if own else embed(50, 1, dtype)
    x.requires_grad_()
    y = x if own else y.requires_grad_()
    leaves = [x] if own else [x, y]
    candidates, masks = pairs_and_masks(labels, ref_labels, own, listed)
    similarity = InnerProduct(normalized=case in FIELD_CASES)
    tolerance = {"double": None, "single": 1e-4 if case in FIELD_CASES else 2e-5}[precision]
    sim = similarity.matrix(x, y)
    kept = masks if mining is None else mining(sim.detach(), *masks)
    expected = reference_losses(sim, *masks, case.weighting, mining)
    for reduction, upstream in (
        (MEAN, torch.full((33,), 1 / 33, dtype=dtype)),
        (NONE, torch.linspace(-1, 2, 33, dtype=dtype)),
    ):
        wanted = torch.autograd.grad(expected, leaves, upstream, retain_graph=True)
        for chunk_size in (1, 7, 40):
            found, num_pos, num_neg = anchor_losses(
                PairBatch(x, y, candidates),
                case.weighting,
                mining,
                similarity,
                Plan(chunk_size, layout),
                reduction,
            )
            assert not any(n.requires_grad for n in (num_pos, num_neg))
            close(found, expected, tolerance)
            close_runs(torch.autograd.grad(found, leaves, upstream), wanted, tolerance)
            if precision == "double":
                assert num_pos.tolist() == kept[0].sum(dim=1).tolist()
                assert num_neg.tolist() == kept[1].sum(dim=1).tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision(layout, dtype):
    """The loss of half-precision embeddings and references is that of float32; gradients come back
    in half precision and are off by its last digit."""
    (x, labels), (y, others), loss = embed(33, 0, dtype), embed(50, 1, dtype), MSLoss(chunk_size=7)
    loss.layout = layout
    value, gradient = run(loss, x, labels, None, y, others)
    expected = run(loss, x.float(), labels, None, y.float(), others)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    close_runs((value, gradient), expected, torch.finfo(dtype).eps)
    close(value, expected[0])


@pytest.mark.parametrize("noise", [0.1, 3.0], ids=["few", "most kept"])
def test_streamed_composed_and_one_chunk_agree(noise):
    x, labels = clusters(1000, noise)
    expected = run(MSLoss(chunk_size=1000), x, labels)
    close_runs(run(MSLoss(chunk_size=64), x, labels), expected)
    close_runs(run(MSWeightedLoss(chunk_size=64), x, labels, MSMiner()(x, labels)), expected)


def test_the_matrix_is_never_held():
    """Not by a loss, below a mean or not, with or without mining, of a tuple, or of a memory."""
    x, labels = clusters(1000, 0.1, dtype=torch.float32)
    x.requires_grad_()
    tuples, memory = MSMiner(chunk_size=64), CrossBatchMemory(MSLoss(chunk_size=64), 16, 4000)
    memory.embedding_memory.copy_(x.detach().repeat(4, 1))
    memory.label_memory.copy_(labels.repeat(4))
    memory.has_been_filled = True

    def each(mining):
        loss = GPWLoss(MultiSimilarity(), mining, chunk_size=64, reducer=DoNothingReducer())
        return (loss(x, labels)["loss"]["losses"] * torch.rand(1000)).sum()

    for step, columns in (
        (lambda: each(None), 1000),
        (lambda: each(MSMining(0.1)), 1000),
        (lambda: MSLoss(chunk_size=64)(x, labels), 1000),
        (lambda: MSLoss(chunk_size=64, fused=True)(x, labels), 1000),  # not compiled in a mode
        (lambda: MSWeightedLoss(chunk_size=64)(x, labels, tuples(x, labels)), 1000),
        (lambda: memory(x, labels), 4000),
    ):
        with LargestTensor() as seen:
            step().backward()
        assert seen.numel <= 2 * 64 * columns
    with LargestTensor() as seen:
        MSLoss(chunk_size=1000)(x, labels)
    assert seen.numel >= 1000**2, "the probe sees nothing"


def test_a_loss_of_nothing_has_no_gradient():
    """Below every loss's own mean: no positives, no negatives, and one embedding."""
    arguments = {"RankedListLoss": {"margin": 0.4, "Tn": 5.0}}
    names = {name for name in losses.__all__ if name.endswith("Loss")}
    for name in names - {"ColumnLoss", "GPWLoss", "PairSimilarityLoss", "SelfSupervisedLoss"}:
        loss = getattr(losses, name)(**arguments.get(name, {}))
        loss.pass_silently()
        for labels in (torch.arange(5), torch.zeros(5, dtype=torch.int64), torch.arange(1)):
            value, gradient = run(loss, torch.randn(len(labels), 3), labels)
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()
            if value == 0:
                close(gradient, torch.zeros_like(gradient))
