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
    added, ahead = {}, {}
    for name in ("glyphs", "worldnames"):
        folder = RESULTS / f"tuning-{name}-150it-50trials-500it-10seeds"
        table = pd.read_csv(folder / "differences.csv", keep_default_na=False)
        added[name] = table.set_index(["row", "without", "parameters"])
        summary = pd.read_csv(folder / "summary.csv", keep_default_na=False, na_values="")
        ahead[name] = summary[summary["parameters"] == "tuned"].set_index("row")["map_at_r_less"]

    def points(name, *row):
        line = added[name].loc[row]
        found = f"{100 * line['map_at_r']:+.1f} ± {100 * line['map_at_r_ci']:.1f}"
        return found.replace("-", "−")

    text = " ".join(README.split())
    mining, s = ("SNP", "SN", "tuned"), ("SN", "N", "tuned")
    both = " and ".join(points(name, *mining) for name in added)
    assert f"adds nothing to SN once its ε is tuned ({both} points)" in text
    cost = [-100 * added[name].loc[("SNP", "SN", "default"), "map_at_r"] for name in added]
    assert f"ε = 0.1 costs {cost[0]:.1f} and {cost[1]:.1f}" in text
    letters, names = (points(name, *s) for name in added)
    assert f"S adds {letters} on letters and {names} on names" in text
    others = ahead["worldnames"].drop(["SN", "SNP", "pml-ms"])
    assert f"{-100 * others.max():.1f} points ahead of all others" in text


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
