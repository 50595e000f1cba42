"""Similarities that are not finite are an error before mining, not a loss of 0."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance

from pml_gpw import GPWLoss, MSLoss, MSMiner, PairMiner
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.value_checks import deferred_checks, flush
from pml_gpw.weightings import Constant, LiftedStructure, MultiSimilarity

from ..cases import CASES, MINING_CASES
from ..covering import covering, named
from ..tolerances import close
from .batches import embed

MININGS = [None, *(case.mining for case in MINING_CASES)]
MESSAGE = r"embeddings must have finite similarities, got NaN or Inf for .* anchors"
DOT = DotProductSimilarity(normalize_embeddings=False)
FAR = LpDistance(normalize_embeddings=False)
RULES = MultiSimilarity(), MSMining()


def large(n=8):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x * 1e20, torch.arange(n) // 2


@pytest.mark.parametrize(("case", "mining"), covering(CASES, MININGS, one_in=6), ids=named)
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
    memory = CrossBatchMemory(loss, 4, 2 * n)
    for call in (loss, miner, memory, lambda x, y: loss(x, y, None, x.clone(), y)):
        with pytest.raises(ValueError, match=MESSAGE):
            call(x, labels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_row_is_enough_and_is_named(layout):
    x, labels = embed(300, 0, torch.float32)
    x[17:19] *= 1e20
    loss = MSLoss(distance=DOT, chunk_size=10)
    loss.layout = layout
    with pytest.raises(ValueError, match=r"for 2 of 10 anchors \(first: anchor 17\)"):
        loss(x, labels)


def test_numbers_that_fit_are_weighed():
    """A bound that says overflow may be wrong: then the products decide."""
    x, labels = embed(300, 0, torch.float32)
    loss = GPWLoss(Constant(), distance=DOT)
    x[17:19] = 0
    x[17, 1] = x[18, 0] = 1e30  # their products with others are large, but finite
    with pytest.raises(ValueError, match=r"for 2 of 300 anchors \(first: anchor 17\)"):
        loss(x, labels)
    x[17:19] = 1e18
    assert torch.isfinite(loss(x, labels))


@pytest.mark.parametrize(
    "call", [gpw_loss, lambda x, y, _, *rest, **named: mine(x, y, *rest, **named)]
)
def test_later_where_nobody_reads_values(call):
    with deferred_checks():
        call(*large(), *RULES, similarity="dot")
        with pytest.raises(ValueError, match=MESSAGE):
            flush()


@pytest.mark.parametrize(
    "module", [GPWLoss(*RULES, distance=FAR), PairMiner(RULES[1], distance=FAR)]
)
def test_distances_too(module):
    x, labels = large()
    with pytest.raises(ValueError, match=MESSAGE):
        module(x * 1e18, labels)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "rules", [RULES, pytest.param((LiftedStructure(), None), marks=pytest.mark.exhaustive)]
)
def test_inside_a_compiled_step_the_loss_is_not_finite(rules, value):
    """Nobody reads values there, so what is wrong must show in the loss."""
    torch._dynamo.reset()
    x, labels = embed(24, 0, torch.float32)
    step = torch.compile(GPWLoss(*rules), fullgraph=True, backend="aot_eager")
    close(step(x, labels), GPWLoss(*rules)(x, labels), 1e-5)
    x[3, 1] = value
    assert not torch.isfinite(step(x.requires_grad_(), labels))
