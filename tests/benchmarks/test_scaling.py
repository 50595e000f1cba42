"""The benchmark of several processes: what it measures is the same loss."""

import pytest

from benchmarks import scaling
from benchmarks.scaling import Job


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick_processes")
def test_a_row():
    row = scaling._row(Job(2, "DistributedLoss, streamed", "random", 40, 128, 1))
    assert row["value"] == pytest.approx(1, rel=1e-5)
    assert row["gradient_error"] < 1e-5
    assert row["ms"] > 0
    assert row["cpu_ms"] > 0
    assert row["collectives"] == 7  # reports, room, rows, losses, the end; two in backward
    assert {"embeddings", "method", "processes", "peak_mb"} <= row.keys()


def test_the_projection_counts():
    first = scaling.projection().iloc[0]
    # 8 processes of 128 embeddings of 512 dims: 3 products of 2·128·1024·512, (2 + 8)·1024·512 B
    assert first["batch N"] == "1,024"
    assert first["GFLOP"] == f"{3 * 2 * 128 * 1024 * 512 / 1e9:.1f}"
    assert first["MB moved"] == f"{10 * 1024 * 512 / 1e6:.1f}"
