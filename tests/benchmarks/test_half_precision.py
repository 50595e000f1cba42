import pandas as pd

from benchmarks import half_precision
from benchmarks.report.saving import COMMITTED

from .small_runs import ok, run


def test_ours_are_nearer_to_float64_than_those_of_pml(tmp_path, monkeypatch):
    monkeypatch.setattr(half_precision, "PLACES", ((20, 64),))
    output = ok(run("half_precision", "--output", tmp_path)).output
    table = pd.read_csv(tmp_path / "half-precision.csv")
    assert list(table["loss"]) == [*half_precision.LOSSES]
    for dtype in half_precision.DTYPES:
        assert (table[f"{dtype}: ours, %"] < 0.01 * table[f"{dtype}: PML, %"]).all()
    assert (tmp_path / "half-precision.md").read_text() in output


def test_the_page_on_place_recognition_quotes_the_committed_table():
    table = pd.read_csv(COMMITTED / "half-precision.csv")
    sizes = {(4 * classes, dims) for classes, dims in half_precision.PLACES}
    assert {*zip(table["N"], table["D"], strict=True)} == sizes, "those of live projects"
    for dtype in half_precision.DTYPES:
        assert (table[f"{dtype}: ours, %"] < 2e-4).all()
    errors = table[table["loss"] == "Multi-Similarity"]
    low, high = errors["fp16: PML, %"].min(), errors["fp16: PML, %"].max()
    page = COMMITTED.parents[1] / "docs" / "from_gsv_cities.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    bf16 = errors["bf16: PML, %"].mean()
    said = f"off by {low:.1f} to {high:.1f} % under fp16 and by {bf16:.0f} % under"
    assert f"{said} bf16 at these sizes, ours by 10⁻⁶" in text
    assert round(errors["bf16: ours, %"].mean() / 100, 6) == 1e-6
