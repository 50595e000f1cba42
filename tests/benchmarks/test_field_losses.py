"""The table of the field's losses, in miniature: what it writes, resumes and refuses."""

import pandas as pd
import pytest

from benchmarks import field_losses
from benchmarks.data.rows import ROWS
from benchmarks.measure.field_losses import LOSSES, peak_within, step
from benchmarks.report.saving import COMMITTED

from .small_runs import ok, run


@pytest.fixture
def no_processes(monkeypatch):
    """Peaks of nothing: NaN for NT-Xent of PML, as where it needs too much."""
    asked = []

    def peak(limit, name, method, n, dims):
        asked.append((name, method, n))
        return float("nan") if (name, method) == ("ntxent", "PML") else 3.0

    def step_without_compiler(name, method, n, dims):
        return step(name, "streamed" if method == "fused" else method, n, dims)

    monkeypatch.setattr(field_losses, "peak_within", peak)
    monkeypatch.setattr(field_losses, "step", step_without_compiler)
    return asked


def test_rows_of_losses_with_a_class_of_pml_without_one_and_one_too_large(tmp_path, no_processes):
    names = ["ntxent", "supcon", "sigmoid"]
    small = ["--sizes", "20,40", "--seconds", 0, "--losses", ",".join(names)]
    output = ok(run("field_losses", *small, "--output", tmp_path)).output
    table = pd.read_csv(tmp_path / "field-losses.csv").set_index(["loss", "N"])
    assert len(table) == 6
    assert table["streamed_ms"].notna().all()
    has_pml = table["pml_ms"].notna().groupby("loss").all()
    assert has_pml.to_dict() == {"ntxent": False, "supcon": True, "sigmoid": False}
    text = (tmp_path / "field-losses.md").read_text()
    assert text in output
    for cell in ("more than 8,000", "no class", "ntxent, by hand", "N = 40, D = 512"):
        assert cell in text
    del no_processes[:]
    ok(run("field_losses", *small, "--output", tmp_path, "--resume"))
    assert no_processes == []
    assert pd.read_csv(tmp_path / "field-losses.csv").set_index(["loss", "N"]).equals(table)


@pytest.mark.usefixtures("quick_processes")
def test_a_step_beyond_the_limit_has_no_peak():
    assert not peak_within(0.001, "ntxent", "PML", 100, 8) > 0
    assert peak_within(1.0, "ntxent", "PML", 20, 8) >= 0


def test_what_the_committed_table_shows():
    """At N = 4,000, as the pages say: little memory, near the two products, faster than PML."""
    table = pd.read_csv(COMMITTED / "field-losses.csv")
    assert {*table["N"]} == {80, 480, 1000, 4000}
    large = table[table["N"] == 4000].set_index("loss")
    assert {*large.index} == {*LOSSES} <= {*ROWS}
    for method in ("streamed", "fused"):
        assert (large[f"{method}_mb"] <= 200).all()
    assert (large["fused_ms"] <= 2.2 * large["floor_ms"]).all()
    by_hand = large[large["by_hand"] & (large.index != "n-pair")]  # whose products are checked
    assert (by_hand["fused_ms"] <= 1.8 * by_hand["floor_ms"]).all()
    assert (large["fused_ms"] < large["pml_ms"].fillna(float("inf"))).all()
    too_large = large[large["pml_class"] & large["pml_ms"].isna()]
    assert {*too_large.index} == {"ntxent", "tuplet"}
