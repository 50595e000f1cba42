"""Where results lie, and how the files of a report are put there."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pml_gpw.training.files import write_atomically

RESULTS = Path(__file__).parents[1] / "results"
PAPER_RUNS = RESULTS / "paper-runs"


def save(folder: Path, files: Mapping[str, str | Callable[[Path], object]]) -> None:
    """Write files by name, each whole or not at all: a text, or what fills a path."""
    for name, content in files.items():
        fill = partial(_write, content) if isinstance(content, str) else content
        write_atomically(folder / name, fill)


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
