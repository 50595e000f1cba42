"""Rows of norm 1, norms that float32 cannot square, and similarities that are not finite."""

import pytest
import torch
from pytorch_metric_learning.distances import (
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
)
from torch.nn.functional import normalize

from pml_gpw import GPWLoss, MSLoss, MSMiner, PairMiner
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.engine.unit_rows import normalized, unit_rows, within_range
from pml_gpw.functional import gpw_loss, mine, ms_loss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import MSMining
from pml_gpw.value_checks import deferred_checks, eager_checks, flush
from pml_gpw.weightings import BinomialDeviance, Constant, Contrastive, MultiSimilarity

from ..runs import close_runs, run
from ..tolerances import close
from .batches import embed

SCALES = (1e30, 3e37, 1e-20, 1e-37)
DOT = DotProductSimilarity(normalize_embeddings=False)


@pytest.fixture(autouse=True)
def small_numbers():
    """torch 2.5 flushes them to zero once it has compiled something."""
    torch.set_flush_denormal(False)


@pytest.fixture
def batch():
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.arange(20) // 4


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "distance",
    [CosineSimilarity(), LpDistance(), LpDistance(p=1), LpDistance(power=2), SNRDistance()],
    ids=repr,
)
def test_losses_and_gradients_follow_the_scale(batch, distance, scale):
    """L(c x) = L(x), and its gradient is 1 / c of that of x."""
    x, labels = batch
    expected = run(MSLoss(distance=distance), x, labels)
    for layout in LAYOUTS:
        loss = MSLoss(distance=distance, chunk_size=7)
        loss.layout = layout
        value, gradient = run(loss, x * scale, labels)
        close(value, expected[0], 1e-5)
        close(gradient.double() * scale, expected[1].double(), 1e-5)
    miner = MSMiner(distance=distance)
    close_runs(miner(x * scale, labels), miner(x, labels))


def test_functions_and_compiled_losses_too(batch):
    """Nobody reads values in a graph, so what is not finite must show in the loss."""
    x, labels = batch
    torch._dynamo.reset()
    compiled = torch.compile(MSLoss(), fullgraph=True, backend="aot_eager")
    for scale in SCALES:
        close(ms_loss(x * scale, labels), ms_loss(x, labels), 1e-5)
        close(compiled(x * scale, labels), ms_loss(x, labels), 1e-5)
    for value in (torch.nan, torch.inf):
        x[3, 1] = value
        assert not torch.isfinite(compiled(x, labels))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighting", [BinomialDeviance(), Contrastive()], ids=repr)
def test_losses_that_do_not_fit_are_refused(batch, layout, weighting):
    x, labels = batch
    loss = GPWLoss(weighting, distance=DOT, chunk_size=7)
    loss.layout = layout
    with pytest.raises(ValueError, match=r"too large|finite losses"):
        loss((x * 1e19).requires_grad_(), labels)
    assert torch.isfinite(loss(x * 1e10, labels))


looks = pytest.mark.parametrize("looks", [eager_checks, deferred_checks], ids=["looks", "does not"])


def rows(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 9, 5, generator=generator, dtype=torch.float64).to(dtype)


@looks
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e20, 3e37, 1e-20, 1e-37])
def test_rows_and_gradients_are_those_of_autograd(scale, dtype, looks):
    x, upstream = rows(dtype)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    with looks():
        unit = normalized(x * scale)
    close(unit.rows, normalize(x))
    close(unit.gradient(upstream).double() * scale, expected.double(), 2e-6)


@looks
def test_rows_of_zeros_have_the_gradient_of_normalize(looks):
    """A large one, and not an infinite one, which would spoil all weights."""
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    upstream = torch.tensor([[1.0, 2.0], [1.0, -2.0]])
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(normalize(leaf), leaf, upstream)
    with looks():
        unit = normalized(x)
    assert unit.rows[1].eq(0).all()
    close(unit.gradient(upstream), expected, 1e-6)


def test_rows_of_ordinary_size_are_left_alone():
    x, _ = rows(torch.float32)
    assert within_range(x) is x
    mixed = torch.cat([x, x[:1] * 1e30, torch.zeros(1, 5)])
    assert unit_rows(mixed)[:9].equal(normalize(x)), "powers of two are exact"
    assert unit_rows(mixed)[-1].eq(0).all()


MESSAGE = r"embeddings must have finite similarities, got NaN or Inf for .* anchors"
FAR = LpDistance(normalize_embeddings=False)
RULES = MultiSimilarity(), MSMining()


def large(n=8):
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x * 1e20, torch.arange(n) // 2


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
def test_rows_that_overflow_are_named_and_numbers_that_fit_are_weighed(layout):
    """A bound that says overflow may be wrong: then the products decide."""
    x, labels = embed(300, 0, torch.float32)
    loss = GPWLoss(Constant(), distance=DOT, chunk_size=10)
    loss.layout, x[17:19] = layout, 0
    x[17, 1] = x[18, 0] = 1e30  # their products with others are large, but finite
    with pytest.raises(ValueError, match=r"for 2 of 10 anchors \(first: anchor 17\)"):
        loss(x, labels)
    x[17:19] = 1e18
    assert torch.isfinite(loss(x, labels))


def test_later_where_nobody_reads_values():
    for call, rules in ((gpw_loss, RULES), (mine, RULES[1:])):
        with deferred_checks():
            call(*large(), *rules, similarity="dot")
            with pytest.raises(ValueError, match=MESSAGE):
                flush()


def test_distances_too():
    x, labels = large()
    for module in (GPWLoss(*RULES, distance=FAR), PairMiner(RULES[1], distance=FAR)):
        with pytest.raises(ValueError, match=MESSAGE):
            module(x * 1e18, labels)
