"""Is a data set on disk the one that was published?"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..optional import optional
from .rgb import open_rgb
from .rows import CHECKS, Row, Size, size_of

SHOWN = 10  # problems of a kind


@dataclass(frozen=True)
class Report:
    """What was found: sizes of the splits beside those published, and all problems."""

    name: str
    problems: tuple[str, ...]
    published: Mapping[str, Size] = field(default_factory=dict)
    found: Mapping[str, Size] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __str__(self) -> str:
        table = [("", "expected", "found")]
        for split, found in self.found.items():
            expected = self.published.get(split)
            table.append((split, "any" if expected is None else str(expected), str(found)))
        lines = [f"{split:<9}{expected:<34}{found}" for split, expected, found in table]
        problems = [f"problem: {problem}" for problem in self.problems]
        return "\n".join([self.name, *lines, *(problems or ["no problem found"])])


def unreadable(name: str, reason: str) -> Report:
    """The report where the annotations themselves cannot be read."""
    return Report(name, (reason,))


def verify(
    name: str,
    rows: list[Row],
    splits: Iterable[str],
    published: Mapping[str, Size],
    decode: bool,
    progress: bool,
) -> Report:
    """The report of the rows of a data set."""
    found = {split: size_of(rows, split) for split in splits}
    problems = [problem for check in CHECKS for problem in _shown(check(rows))]
    for split, size in found.items():
        if published.get(split, size) != size:
            problems.append(f"{split} has {size}, not {published[split]} ({_files(rows, split)})")
    if decode:
        problems += _shown(_not_decoded(rows, progress))
    return Report(name, tuple(problems), published, found)


def _not_decoded(rows: list[Row], progress: bool) -> Iterator[str]:
    """What is wrong with images that are there but cannot be decoded."""
    there = [r.path for r in rows if os.path.isfile(r.path) and os.path.getsize(r.path)]
    bar = optional("tqdm", "datasets").tqdm
    with ThreadPoolExecutor() as pool:  # decoding lets go of the interpreter lock
        for error in bar(pool.map(_error, there), "decoding", len(there), disable=not progress):
            if error:
                yield error


def _error(path: str) -> str | None:
    try:
        open_rgb(path)
    except ValueError as error:
        return str(error)
    return None


def _files(rows: list[Row], split: str) -> str:
    """The annotation files of a split."""
    files = {row.source.rpartition(", ")[0] or row.source for row in rows if row.split == split}
    return ", ".join(sorted(files)[:3]) or "in no annotation file"


def _shown(problems: Iterable[str]) -> list[str]:
    """The first problems of a kind and how many more there are."""
    every = [*problems]
    more = len(every) - SHOWN
    return [*every[:SHOWN], *([f"{more} more like the last"] if more > 0 else [])]
