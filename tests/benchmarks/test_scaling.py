"""The benchmark of several processes: what it measures is the same loss."""

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import scaling
from benchmarks.scaling import Job

app = typer.Typer()
app.command()(scaling.main)


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
    table = scaling.projection()
    first = table.iloc[0]
    # 8 processes of 128 embeddings of 512 dims: 3 products of 2·128·1024·512, (2 + 8)·1024·512 B
    assert first["batch N"] == "1,024"
    assert first["GFLOP"] == f"{3 * 2 * 128 * 1024 * 512 / 1e9:.1f}"
    assert first["MB moved"] == f"{10 * 1024 * 512 / 1e6:.1f}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--worlds", "1,0"), "must be integers in 1..1024, comma-separated, got '1,0'"),
        (("--worlds", "²"), "must be integers in 1..1024"),
        (("--worlds", "9" * 5000), "must be integers in 1..1024"),
        (("--batch", "9" * 20), "10000000"),
        (("--worlds", "3"), "must be integers >= 1 whose 5-folds divide 4000"),
        (("--dims", "64"), "must be one of 512, 128, got '64'"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, said):
    result = CliRunner().invoke(app, [*options, "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
