"""README.md is short, what it shows runs as it stands, and its numbers are committed results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from .docs.blocks import python_blocks, run_page

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def cells(row):
    return [cell.strip() for cell in row.strip("|").split("|")]


def tables(text):
    """Each table of a text as (heading before it, names of the columns, rows of cells)."""
    heading = ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            heading = line or heading
        elif re.match(r"\|[:|-]+\|$", line):
            rows = lines[number + 1 :]
            end = next((i for i, row in enumerate(rows) if not row.startswith("|")), len(rows))
            yield heading, cells(lines[number - 1]), [cells(row) for row in rows[:end]]


def test_is_a_page():
    assert len(README) <= 7000


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(python_blocks(PAGE)) == 1
    names = run_page(PAGE)
    recall = names["recall_at_k"](names["embeddings"], names["test"].labels, ks=(1,))
    assert recall[1] > 0.65, "README says about 76 %"


def test_the_speed_rows_are_committed_results():
    ((_, columns, rows),) = (table for table in tables(README) if "× faster than PML" in table[1])
    ((_, all_columns, all_rows),) = (
        table
        for table in tables((RESULTS / "speed-cpu.md").read_text(encoding="utf-8"))
        if "mined, trained-like" in table[0] and "N = 4,000, D = 512" in table[0]
    )
    places = [all_columns.index(name) for name in columns]
    committed = [[row[place] for place in places] for row in all_rows]
    assert len(rows) == 2
    for row in rows:
        assert row in committed


def test_the_result_is_the_committed_one():
    (folder,) = re.findall(r"\((benchmarks/results/tuning-[^)]*)/tests\.png\)", README)
    table = pd.read_csv(ROOT / folder / "differences.csv", keep_default_na=False)
    rows = table.set_index(["row", "without", "parameters"])

    def points(*row):
        mean, width = 100 * rows.loc[row, "map_at_r"], 100 * rows.loc[row, "map_at_r_ci"]
        return f"{mean:+.1f} ± {width:.1f}".replace("-", "−")

    assert f"mining adds nothing to it ({points('NP', 'N', 'tuned')})" in README
    assert f"S takes something away ({points('SN', 'N', 'tuned')})" in README
    assert points("NP", "N", "default").startswith("−3.5 ")
    parameters = pd.read_csv(ROOT / folder / "parameters.csv", keep_default_na=False)
    epsilon = parameters[parameters["parameter"] == "epsilon"].set_index("row")["best"]
    assert 0.55 < epsilon["SNP"] < epsilon["NP"] < 0.75, "README says six to seven times 0.1"
    summary = pd.read_csv(ROOT / folder / "summary.csv")
    tuned = summary[summary["parameters"] == "tuned"].set_index("row")
    less, width = tuned["map_at_r_less"], tuned["map_at_r_less_ci"]  # than SNP
    lead = f"{100 * less['N']:.1f} ± {100 * width['N']:.1f}"
    assert f"N alone is {lead} points above the paper's loss" in README
    assert abs(less["ntxent"]) < width["ntxent"], "README says that it is level"
    other = "tuning-glyphs-150it-classifier-25trials-500it-10seeds-only-dee4d108"
    table = pd.read_csv(RESULTS / other / "differences.csv", keep_default_na=False)
    rows = table.set_index(["row", "without", "parameters"])
    assert f"S adds {points('SN', 'N', 'tuned')[1:]} and mining still nothing" in README
    assert abs(rows.loc[("NP", "N", "tuned"), "map_at_r"]) < 0.005


def test_the_recall_of_raw_pixels_is_the_committed_one():
    result = (RESULTS / "accuracy-glyphs-500it-5seeds.md").read_text(encoding="utf-8")
    (recall,) = (row[2] for _, _, rows in tables(result) for row in rows if row[0] == "raw pixels")
    assert f"{float(recall):.0f} % (raw pixels)" in README


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
)
def test_linked_files_exist(page):
    for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"$', project, flags=re.MULTILINE)
    assert f"\nversion: {version}\n" in citation
