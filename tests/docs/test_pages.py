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
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page):
    for package in NEEDS.get(page.stem, ()):
        pytest.importorskip(package)
    names = run_page(page)
    if page.stem == "getting_started":
        assert "ends near 0.82 at K = 1" in page.read_text(encoding="utf-8")
        assert abs(names["recall"][1] - 0.82) < 0.04


def test_pages_on_moving_over_are_a_screen_and_few_blocks_are_not_run():
    lines = {page.stem: page.read_text().splitlines() for page in DOCS.glob("*.md")}
    others = ("sentence_transformers", "lightning", "accelerate")
    lengths = {n: len(of) for n, of in lines.items() if n.startswith("from_") or n in others}
    assert len(lengths) >= 8
    assert max(lengths.values()) <= 60, lengths
    shown = [line for of in lines.values() for line in of if line.startswith("```python ")]
    assert len(shown) <= 6
