"""What the pages show runs as it stands, each page from top to bottom in an empty folder."""

from pathlib import Path

import pytest

from .blocks import python_blocks, run_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.glob("*.md") if python_blocks(page))
NEEDS = {  # pages about other packages, which an environment may be without
    "sentence_transformers": ("sentence_transformers", "datasets"),
    "texts": ("sentence_transformers", "datasets"),
    "lightning": ("lightning", "torchmetrics"),
    "torchmetrics": ("torchmetrics",),
    "accelerate": ("accelerate",),
    "logging": (),
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page):
    for package in NEEDS.get(page.stem, ()):
        pytest.importorskip(package)
    run_page(page)


def test_the_recall_of_the_first_training_is_that_of_the_page():
    assert "ends near 0.82 at K = 1" in (DOCS / "getting_started.md").read_text(encoding="utf-8")
    assert abs(run_page(DOCS / "getting_started.md")["recall"][1] - 0.82) < 0.04


def test_few_blocks_are_not_run():
    shown = [line for page in DOCS.glob("*.md") for line in page.read_text().splitlines()]
    assert sum(line.startswith("```python ") for line in shown) <= 6


def test_pages_on_moving_over_are_a_screen():
    others = ("sentence_transformers", "lightning", "accelerate")
    pages = [*DOCS.glob("from_*.md"), *(DOCS / f"{name}.md" for name in others)]
    assert len(pages) >= 8
    lengths = {page.name: len(page.read_text().splitlines()) for page in pages}
    assert max(lengths.values()) <= 60, lengths


def test_a_block_that_fails_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        run_page(page)
