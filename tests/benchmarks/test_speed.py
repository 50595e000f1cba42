"""The speed benchmark in miniature: what it writes and what it refuses."""

import re

import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks import speed
from benchmarks.measure import methods, steps
from benchmarks.measure.stopwatch import Times, peak_megabytes, time_in_turns

app = typer.Typer()
app.command()(speed.main)
SMALL = [
    "--no-live",
    "--layouts",
    "",
    "--huge",
    "0",
    "--columns",
    "0",
    "--memory",
    "300",
    "--retrieval",
    "60",
    "--deep-retrieval",
    "0",
    "--seconds",
    "0.01",
]


@pytest.mark.usefixtures("quick_processes")
def test_tables_plot_and_ratios(tmp_path):
    result = CliRunner().invoke(
        app,
        ["--batches", "20,40", *SMALL, "--seconds", "0.01", "--output", str(tmp_path)],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "speed-cpu.png").stat().st_size > 10_000
    text = (tmp_path / "speed-cpu.md").read_text()
    assert text in result.output
    assert "N = 256, M = 300, D = 128" in text
    rows = pd.read_csv(tmp_path / "speed-cpu.csv")
    mined = rows[(rows["task"] == "loss") & (rows["N"] == 40) & (rows["kind"] == "random")]
    mined = mined[mined["mined"].astype(bool)].set_index("method")
    assert set(mined.index) == {*methods.MINED, "floor"}
    assert mined.loc["PML", "faster_than_pml"] == 1
    assert mined.loc["PML", "times_floor"] == pytest.approx(
        mined.loc["PML", "ms"] / mined.loc["floor", "ms"]
    )
    counts = rows[(rows["task"] == "counts") & (rows["N"] == 40)].set_index("method")
    assert set(counts.index) == set(methods.COUNTED)
    assert (tmp_path / "speed-cpu-counts.png").stat().st_size > 10_000
    assert re.search(r"N = 20: faster than PML by streamed \(MSLoss\) \d", result.output)
    memory = rows[rows["task"] == "memory"]
    assert (memory["peak_mb"] >= 0).all()


@pytest.mark.usefixtures("quick_processes")
def test_resumed_tables_are_kept_and_missing_ones_are_made(tmp_path):
    def run(seconds, **options):
        speed.main("20", False, "", 0, 0, "", 0, 0, False, seconds, "cpu", tmp_path, **options)
        return pd.read_csv(tmp_path / "speed-cpu.csv")

    first = run(0.01)
    names = first["table"].unique()
    kept = first[first["table"] != names[-1]].assign(ms=-1.0)
    kept.to_csv(tmp_path / "speed-cpu.csv", index=False)
    again = run(0.01, resume=True)
    assert list(again["table"]) == list(first["table"])
    made = again["table"] == names[-1]
    assert (again["ms"][~made] == -1).all()
    assert (again["ms"][made].dropna() > 0).all()
    assert (run(0.02, resume=True)["ms"].dropna() > 0).all(), "of another call"


def test_methods_that_differ_are_not_compared(monkeypatch, tmp_path):
    monkeypatch.setitem(methods.MINED, "dense autograd", lambda: lambda x, labels: x.sum())
    with pytest.raises(RuntimeError, match="do not compute the same loss"):
        speed.main("20", False, "", 0, 0, "", 0, 0, False, 0.01, "cpu", tmp_path)
    assert not list(tmp_path.iterdir())


def test_sizes_of_live_projects_in_miniature(monkeypatch, tmp_path):
    """Their rows, and those of each layout; the measuring of a peak has its own test."""
    monkeypatch.setattr(speed, "peak_megabytes", lambda make, *arguments: make(*arguments)()[-1])
    monkeypatch.setattr(speed, "PLACES", ((8, 64),))
    monkeypatch.setattr(speed, "TERMS", 40)
    speed.main("20", True, "60", 40, 24, "", 0, 0, False, 0.001, "cpu", tmp_path)
    rows = pd.read_csv(tmp_path / "speed-cpu.csv").set_index(["task", "N", "kind", "method"])
    assert rows.loc[("loss", 32, "rank 48", "PML"), "faster_than_pml"] == 1
    assert set(rows.loc[("tuple", 40, "rank 48")].index) == {*methods.TUPLES, "floor"}
    peaks = rows.loc[("peak", 60, "trained-like")]
    assert set(peaks.index) == {*speed.LAYOUTS}
    assert (peaks["peak_mb"] > 0).all()
    assert set(rows.loc[("peak", 24, "random")].index) == {*steps.COLUMNS}


def test_embeddings_of_rank_48():
    x, labels = steps.embeddings("rank 48", 240, 512, per_class=4)
    assert torch.linalg.matrix_rank(x) == 48
    assert labels.unique(return_counts=True)[1].tolist() == [4] * 60
    assert 0.2 < steps.share_of_negatives_kept(x, labels) < 0.4


BAD_OPTIONS = {
    "--batches": ["", "12", "20,x", "20,", "²", "9" * 20, "9" * 5000],
    "--huge": ["-1", "9" * 20],
    "--columns": ["-1", "9" * 20],
    "--memory": ["-1", "3", "9" * 20],
    "--layouts": ["-1", "0", "x"],
    "--retrieval": ["1", "32", "9" * 20],
    "--deep-retrieval": ["5", "1000"],
    "--seconds": ["nan", "inf", "-1"],
    "--device": ["", "toaster", "meta"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, all in BAD_OPTIONS.items() for value in all]
)
def test_bad_options(tmp_path, option, value):
    result = CliRunner().invoke(app, [option, value, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert option in re.sub(r"\x1b\[[0-9;]*m", "", result.output)
    assert not [*tmp_path.iterdir()]


def test_steps_take_turns_until_each_has_had_its_time():
    calls = []

    def step(name, milliseconds):
        calls.append(name)
        return [0.0, 0.25e-3 * milliseconds, 1e-3 * milliseconds]

    steps_ = {"slow": lambda: step("slow", 40), "quick": lambda: step("quick", 10)}
    times = time_in_turns(steps_, seconds=0.1, least=2)
    assert calls[:6] == ["slow", "quick"] * 3
    assert (len(times["slow"].whole), len(times["quick"].whole)) == (3, 10)
    summary = times["slow"].summary()
    assert summary["ms"] == pytest.approx(40)
    assert summary["forward_ms"] == pytest.approx(10)
    assert summary["backward_ms"] == pytest.approx(30)
    assert summary["repetitions"] == 3


def test_median_and_quartiles():
    times = Times()
    for milliseconds in (1, 2, 3, 4, 100):
        times.add([0.0, 1e-3 * milliseconds])
    summary = times.summary()
    assert (summary["ms"], summary["ms_q1"]) == (pytest.approx(3), pytest.approx(1.5))
    assert "forward_ms" not in summary


def hold(megabytes):
    import torch

    def step():
        torch.ones(megabytes * 2**18).sum()
        return [0.0, 1.0]

    return step


def grow(megabytes):
    import torch

    kept = []

    def step():
        kept.append(torch.ones(megabytes * 2**18))
        return [0.0, 1.0]

    return step


def test_peak_memory_is_that_of_several_steps():
    once, grown = peak_megabytes(hold, 50), peak_megabytes(grow, 50)
    assert 80 < grown - once < 120 or grown != grown


def test_peak_memory_is_that_of_the_step():
    small, large = (peak_megabytes(hold, size) for size in (10, 110))
    assert 90 < large - small < 120 or large != large  # NaN where the system does not tell
