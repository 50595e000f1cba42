"""Where results lie, and how the files of a report are put there."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pml_gpw.training.files import write_atomically

COMMITTED = Path(__file__).parents[1] / "results"
"""The results that are part of the repository. No command writes there unless it is told to."""
RESULTS = Path("results")
"""Where commands write by default: in the working directory."""


def save(folder: Path, files: Mapping[str, str | Callable[[Path], object]]) -> None:
    """Write files by name, each whole or not at all: a text, or what fills a path."""
    for name, content in files.items():
        fill = partial(_write, content) if isinstance(content, str) else content
        write_atomically(folder / name, fill)


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
