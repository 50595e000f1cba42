"""Similarities that are not finite are an error before mining, not a loss of 0."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance

from pml_gpw import GPWLoss, MSLoss, MSMiner, PairMiner
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.value_checks import deferred_checks, flush

from ..cases import CASES, MINING_CASES
from ..tolerances import close
from .batches import embed

MININGS = [None, *(case.mining for case in MINING_CASES)]
LAYOUTS = ("auto", "dense", "sparse rows", "sparse batch")
MESSAGE = r"embeddings must have finite similarities, got NaN or Inf for .* anchors"
DOT = DotProductSimilarity(normalize_embeddings=False)


def large(n=8):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x * 1e20, torch.arange(n) // 2


@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_similarities_that_overflow(case, mining):
    x, labels = large()
    for reduction in ("mean", "none"):
        with pytest.raises(ValueError, match=MESSAGE):
            gpw_loss(x, labels, case.weighting, mining, similarity="dot", reduction=reduction)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n", [8, 300])
def test_in_every_layout_and_as_a_miner(layout, n):
    x, labels = large(n)
    loss, miner = MSLoss(distance=DOT, chunk_size=50), MSMiner(distance=DOT, chunk_size=50)
    loss.layout = miner.layout = layout
    for call in (loss, miner, lambda x, y: loss(x, y, None, x.clone(), y)):
        with pytest.raises(ValueError, match=MESSAGE):
            call(x, labels)
    memory = CrossBatchMemory(loss, 4, 2 * n)
    with pytest.raises(ValueError, match=MESSAGE):
        memory(x, labels)


def test_one_row_is_enough_and_is_named():
    x, labels = embed(300, 0, torch.float32)
    x[17] *= 1e20
    x[18] *= 1e20
    for layout in LAYOUTS:
        loss = MSLoss(distance=DOT, chunk_size=10)
        loss.layout = layout
        with pytest.raises(ValueError, match=r"for 2 of 10 anchors \(first: anchor 17\)"):
            loss(x, labels)


def test_numbers_that_fit_are_weighed():
    """A bound that says overflow may be wrong: then the products decide."""
    x, labels = embed(300, 0, torch.float32)
    x[17] *= 1e19
    x[18] = 0
    x[18, 0] = 1e30  # its products with others are large, but finite
    x[17] = 0
    x[17, 1] = 1e30
    loss = GPWLoss(CASES[0].weighting, distance=DOT)
    sim = x.double() @ x.double().T
    sim[17, 17] = sim[18, 18] = 0
    x[19:, 2:] *= 1
    with pytest.raises(ValueError, match=r"for 2 of 300 anchors \(first: anchor 17\)"):
        loss(x, labels)
    y = x.clone()
    y[17:19] = 1e18
    assert torch.isfinite(loss(y, labels))


def test_later_where_nobody_reads_values():
    x, labels = large()
    for call in (
        lambda: gpw_loss(x, labels, CASES[-1].weighting, MININGS[1], similarity="dot"),
        lambda: mine(x, labels, MININGS[1], similarity="dot"),
    ):
        with deferred_checks():
            call()
            with pytest.raises(ValueError, match=MESSAGE):
                flush()


def test_distances_too():
    x, labels = large()
    for module in (
        GPWLoss(CASES[-1].weighting, MININGS[1], distance=LpDistance(normalize_embeddings=False)),
        PairMiner(MININGS[1], distance=LpDistance(normalize_embeddings=False)),
    ):
        with pytest.raises(ValueError, match=MESSAGE):
            module(x * 1e18, labels)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inside_a_compiled_step_the_loss_is_not_finite(value):
    """Nobody reads values there, so what is wrong must show in the loss."""
    torch._dynamo.reset()
    x, labels = embed(24, 0, torch.float32)
    step = torch.compile(MSLoss(), fullgraph=True, backend="aot_eager")
    close(step(x, labels), MSLoss()(x, labels), 1e-5)
    x[3, 1] = value
    x = x.requires_grad_()
    assert not torch.isfinite(step(x, labels))
    function = torch.compile(gpw_loss, fullgraph=True, backend="aot_eager")
    for case in CASES:
        assert not torch.isfinite(function(x, labels, case.weighting, MININGS[1]))
