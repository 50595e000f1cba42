"""What is counted of a step: by hand for small ones, and the bars that the steps of losses keep."""

import shutil

import pytest
import torch

from benchmarks.measure import steps
from benchmarks.measure.counts import BYTES_PER_SECOND, LAUNCH_SECONDS, counted

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
X = torch.rand(8, 4)


@pytest.mark.parametrize(
    ("step", "operations", "waits", "moved"),
    [
        (lambda: X + 1, 1, 0, 2 * 128),
        (lambda: X.T[0], 0, 0, 0),
        (lambda: X @ X.T, 1, 0, 2 * 128 + 256),
        (lambda: X.clone().add_(X), 2, 0, 2 * 128 + 3 * 128),
        (lambda: X.sum().item(), 1, 1, 128 + 4),
        (lambda: torch.empty(5, 5), 0, 0, 0),
    ],
)
def test_by_hand(step, operations, waits, moved):
    counts = counted(step)
    assert (counts.operations, counts.waits, counts.bytes_moved) == (operations, waits, moved)


def test_roofline():
    counts = counted(lambda: X @ X.T)
    assert counts.product_share == 1
    assert counts.product_seconds == LAUNCH_SECONDS
    large = torch.rand(3000, 1000)
    assert counted(lambda: large + 1).other_seconds == pytest.approx(2 * 12e6 / BYTES_PER_SECOND)


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("streamed (MSLoss)", 90),
        ("composed (MSMiner + MSWeightedLoss)", 130),
        pytest.param("fused (MSLoss)", 40, marks=[needs_compiler, pytest.mark.exhaustive]),
        pytest.param("fused (ms_loss)", 40, marks=[needs_compiler, pytest.mark.exhaustive]),
    ],
)
def test_bars(name, bar):
    """The same at every N: nothing loops but over chunks, or waits but for index tuples."""
    found = [counted(steps.counted_step(name, n, 64)) for n in (80, 600)]
    assert max(each.operations for each in found) <= bar
    if not name.startswith("composed"):
        assert found[0].operations == found[1].operations
    assert (found[0].waits == 0) == (not name.startswith("composed"))
