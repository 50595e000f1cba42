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
from pml_gpw.engine.unit_rows import unit_rows, within_range
from pml_gpw.functional import ms_loss
from pml_gpw.weightings import BinomialDeviance, Contrastive

from ..runs import run
from ..tolerances import close

SCALES = (1e30, 3e37, 1e-20, 1e-37)


@pytest.fixture(autouse=True)
def small_numbers():
    """torch 2.5 flushes them to zero once it has compiled something."""
    torch.set_flush_denormal(False)


def embed(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(20, 5, generator=generator).to(dtype), torch.arange(20) // 4


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_have_norm_1(scale, dtype):
    x, _ = embed(dtype)
    close(unit_rows(x * scale), torch.nn.functional.normalize(x))


def test_rows_of_ordinary_size_are_left_alone():
    x, _ = embed()
    assert within_range(x) is x
    mixed = torch.cat([x, x[:1] * 1e30, torch.zeros(1, 5)])
    assert unit_rows(mixed)[:20].equal(torch.nn.functional.normalize(x)), "powers of two are exact"
    assert unit_rows(mixed)[-1].eq(0).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "distance",
    [CosineSimilarity(), LpDistance(), LpDistance(p=1), LpDistance(power=2), SNRDistance()],
    ids=repr,
)
def test_losses_and_gradients_follow_the_scale(distance, scale):
    """L(c x) = L(x), and its gradient is 1 / c of that of x."""
    x, labels = embed()
    expected = run(MSLoss(distance=distance), x, labels)
    for layout in ("dense", "sparse rows", "sparse batch"):
        loss = MSLoss(distance=distance, chunk_size=7)
        loss.layout = layout
        value, gradient = run(loss, x * scale, labels)
        close(value, expected[0], 1e-5)
        close((gradient.double() * scale), expected[1].double(), 1e-5)
    mined = MSMiner(distance=distance)(x * scale, labels)
    for a, b in zip(mined, MSMiner(distance=distance)(x, labels), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize("scale", SCALES)
def test_functions_and_compiled_losses_too(scale):
    x, labels = embed()
    expected = ms_loss(x, labels)
    close(ms_loss(x * scale, labels), expected, 1e-5)
    torch._dynamo.reset()
    compiled = torch.compile(MSLoss(), fullgraph=True, backend="aot_eager")
    close(compiled(x * scale, labels), expected, 1e-5)


@pytest.mark.parametrize("layout", ["dense", "sparse rows", "sparse batch"])
def test_losses_that_do_not_fit_are_refused(layout):
    x, labels = embed()
    dot = DotProductSimilarity(normalize_embeddings=False)
    for weighting in (BinomialDeviance(), Contrastive()):
        loss = GPWLoss(weighting, distance=dot, chunk_size=7)
        loss.layout = layout
        with pytest.raises(ValueError, match=r"too large|finite losses"):
            loss((x * 1e19).requires_grad_(), labels)
        assert torch.isfinite(loss(x * 1e10, labels))
