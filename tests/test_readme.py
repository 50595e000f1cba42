"""README.md is short, what it shows runs as it stands, and its numbers are committed results."""

import re
from pathlib import Path

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
    recall = names["dataset_recall"](names["model"], names["test"], ks=(1,))
    assert recall[1] > 0.65, "README says about 75 %"


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
    (picture,) = re.findall(r"\((benchmarks/results/accuracy-[^)]*)\.png\)", README)
    result = (ROOT / picture).with_suffix(".md").read_text(encoding="utf-8")
    ((_, columns, rows),) = tables(result)
    recall = {row[0]: float(row[columns.index("R@1")].split()[0]) for row in rows}
    assert "46 % (raw pixels)" in README
    assert round(recall["raw pixels"]) == 46
    assert max(recall, key=recall.get) == "N"
    assert recall["SNP"] < recall["SN"]


@pytest.mark.parametrize(
    "page", [PAGE, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
)
def test_linked_files_exist(page):
    for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists() or link.startswith("notebooks/"), link


def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"$', project, flags=re.MULTILINE)
    assert f"\nversion: {version}\n" in citation
