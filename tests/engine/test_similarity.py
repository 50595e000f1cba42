"""Norms that float32 cannot square: right on every path, or refused."""

import pytest
import torch
from pytorch_metric_learning.distances import (
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
)

from pml_gpw import GPWLoss, MSLoss, MSMiner
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import ms_loss
from pml_gpw.weightings import BinomialDeviance, Contrastive

from ..runs import close_runs, run
from ..tolerances import close

SCALES = (1e30, 3e37, 1e-20, 1e-37)


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
    x, labels = batch
    torch._dynamo.reset()
    compiled = torch.compile(MSLoss(), fullgraph=True, backend="aot_eager")
    for scale in SCALES:
        close(ms_loss(x * scale, labels), ms_loss(x, labels), 1e-5)
        close(compiled(x * scale, labels), ms_loss(x, labels), 1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighting", [BinomialDeviance(), Contrastive()], ids=repr)
def test_losses_that_do_not_fit_are_refused(batch, layout, weighting):
    x, labels = batch
    dot = DotProductSimilarity(normalize_embeddings=False)
    loss = GPWLoss(weighting, distance=dot, chunk_size=7)
    loss.layout = layout
    with pytest.raises(ValueError, match=r"too large|finite losses"):
        loss((x * 1e19).requires_grad_(), labels)
    assert torch.isfinite(loss(x * 1e10, labels))
