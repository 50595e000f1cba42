"""The speed benchmark in miniature: what it writes and what it refuses."""

import re

import pandas as pd
import pytest
import torch

from benchmarks import speed
from benchmarks.measure import methods, steps
from benchmarks.measure.stopwatch import Times, peak_here, peak_megabytes, time_in_turns

from .small_runs import ok, run


@pytest.fixture
def peaks_here(monkeypatch):
    """Peaks are those of this process: of each step in another one they have a test below."""
    monkeypatch.setattr(speed, "peak_megabytes", lambda make, *job: peak_here(make(*job)))


@pytest.mark.exhaustive
@pytest.mark.usefixtures("peaks_here")
def test_tables_plots_and_ratios(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "PLACES", ((8, 64),))
    monkeypatch.setattr(speed, "TERMS", 40)
    sizes = ["--batches", "20,40", "--layouts", "60", "--huge", 40, "--columns", 24]
    sizes += ["--memory", "300", "--retrieval", 60, "--deep-retrieval", 0]
    output = ok(run("speed", *sizes, "--seconds", 0.001, "--output", tmp_path)).output
    for name in ("speed-cpu.png", "speed-cpu-counts.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    text = (tmp_path / "speed-cpu.md").read_text()
    assert text in output
    assert "N = 256, M = 300, D = 128" in text
    assert re.search(r"N = 20: faster than PML by streamed \(MSLoss\) \d", output)
    keys = ["task", "mined", "N", "kind"]
    tables = dict([*pd.read_csv(tmp_path / "speed-cpu.csv").groupby(keys)])
    methods_of = {key: {*table["method"]} for key, table in tables.items()}
    mined = tables["loss", True, 40, "random"].set_index("method")
    assert {*mined.index} == {*methods.MINED, "floor"}
    assert mined.loc["PML", "faster_than_pml"] == 1
    ratio = mined.loc["PML", "ms"] / mined.loc["floor", "ms"]
    assert mined.loc["PML", "times_floor"] == pytest.approx(ratio)
    assert methods_of["counts", True, 40, "random"] == {*methods.COUNTED}
    assert methods_of["loss", True, 32, "rank 48"] == {*methods.MINED, "floor"}
    assert methods_of["tuple", False, 40, "rank 48"] == {*methods.TUPLES, "floor"}
    assert methods_of["formula", False, 40, "random"] == {*methods.FORMULA, "floor"}
    assert methods_of["memory", True, 256, "random"] == {*methods.MEMORIES, "floor"}
    assert methods_of["peak", True, 60, "trained-like"] == {*speed.LAYOUTS}
    assert methods_of["peak", True, 24, "random"] == {*steps.COLUMNS}
    assert (tables["memory", True, 256, "random"]["peak_mb"].dropna() >= 0).all()


@pytest.mark.usefixtures("peaks_here")
def test_resumed_tables_are_kept_and_missing_ones_are_made(tmp_path):
    def found(seconds, *options):
        losses = ["--losses", "SNP,CircleLoss", "--batches", "20,40", "--seconds", seconds]
        ok(run("speed", *losses, "--output", tmp_path, *options))
        return pd.read_csv(tmp_path / "speed-cpu-losses.csv")

    first = found(0.01)
    assert first["method"].to_list() == 2 * ["SNP", "CircleLoss", "floor"]
    names = first["table"].unique()
    kept = first[first["table"] != names[-1]].assign(ms=-1.0)
    kept.to_csv(tmp_path / "speed-cpu-losses.csv", index=False)
    again = found(0.01, "--resume")
    assert list(again["table"]) == list(first["table"])
    made = again["table"] == names[-1]
    assert (again["ms"][~made] == -1).all()
    assert (again["ms"][made] > 0).all()
    assert (found(0.02, "--resume")["ms"] > 0).all(), "of another call"


def test_methods_that_differ_are_not_compared(monkeypatch, tmp_path):
    wrong = {"PML": methods._pml, "dense autograd": lambda: lambda x, labels: x.sum()}
    monkeypatch.setattr(steps, "MINED", wrong)
    result = run("speed", "--no-counts", "--batches", 20, "--output", tmp_path)
    assert "do not compute the same loss" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_embeddings_of_rank_48():
    x, labels = steps.embeddings("rank 48", 240, 512, per_class=4)
    assert torch.linalg.matrix_rank(x) == 48
    assert labels.unique(return_counts=True)[1].tolist() == [4] * 60
    assert 0.2 < steps.share_of_negatives_kept(x, labels) < 0.4


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
    expected = {"ms": 40, "forward_ms": 10, "backward_ms": 30, "repetitions": 3}
    assert {name: summary[name] for name in expected} == pytest.approx(expected)
    whole = Times([1.0, 2.0, 3.0, 4.0, 100.0]).summary()
    assert (whole["ms"], whole["ms_q1"], "forward_ms" in whole) == (3, 1.5, False)


def hold(megabytes, keeps=False):
    kept = []

    def step():
        made = torch.ones(megabytes * 2**18)
        if keeps:
            kept.append(made)
        return [0.0, 1.0]

    return step


@pytest.mark.usefixtures("quick_processes")
def test_peak_memory_is_that_of_several_steps():
    """NaN where the system does not tell."""
    small, large, grown = (peak_megabytes(hold, *job) for job in ((10,), (110,), (110, True)))
    assert 70 < large - small < 120 or large != large
    assert 180 < grown - large < 260 or grown != grown
