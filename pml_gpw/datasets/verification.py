"""The comparison of a data set on disk with the one that was published."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ..optional import import_optional
from .records import CHECKS, ImageRecord, SplitSize, size_of_split
from .rgb import open_rgb

MAX_PROBLEMS_PER_CHECK = 10


@dataclass(frozen=True)
class VerificationReport:
    """The sizes of the splits, found and published, and the problems."""

    name: str
    problems: tuple[str, ...]
    published: Mapping[str, SplitSize] = field(default_factory=dict)
    found: Mapping[str, SplitSize] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def __str__(self) -> str:
        table = [("", "expected", "found")]
        for split, found in self.found.items():
            expected = self.published.get(split)
            table.append((split, "any" if expected is None else str(expected), str(found)))
        lines = [f"{split:<9}{expected:<34}{found}" for split, expected, found in table]
        problems = [f"problem: {problem}" for problem in self.problems]
        return "\n".join([self.name, *lines, *(problems or ["no problem found"])])


def verify_records(
    name: str,
    records: list[ImageRecord],
    splits: Iterable[str],
    published: Mapping[str, SplitSize],
    decode: bool,
    progress: bool,
) -> VerificationReport:
    """Check the records of a data set, and the images where ``decode`` is set."""
    found = {split: size_of_split(records, split) for split in splits}
    problems = [problem for check in CHECKS for problem in _abbreviate(check(records))]
    for split, size in found.items():
        if published.get(split, size) != size:
            files = _annotation_files(records, split)
            problems.append(f"{split} has {size}, not {published[split]} ({files})")
    if decode:
        problems += _abbreviate(_decoding_errors(records, progress))
    return VerificationReport(name, tuple(problems), published, found)


def _decoding_errors(records: list[ImageRecord], progress: bool) -> Iterator[str]:
    """Decode the files that exist and are not empty; yield an error for each that fails."""
    paths = [r.path for r in records if os.path.isfile(r.path) and os.path.getsize(r.path)]
    bar = import_optional("tqdm", "datasets").tqdm
    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter lock
        errors = pool.map(_decoding_error, paths)
        for error in bar(errors, "decoding", len(paths), disable=not progress):
            if error:
                yield error


def _decoding_error(path: str) -> str | None:
    try:
        open_rgb(path)
    except ValueError as error:
        return str(error)
    return None


def _annotation_files(records: list[ImageRecord], split: str) -> str:
    """Name the annotation files of a split."""
    locations = (record.location for record in records if record.split == split)
    files = {location.rpartition(", ")[0] or location for location in locations}
    return ", ".join(sorted(files)[:3]) or "in no annotation file"


def _abbreviate(problems: Iterable[str]) -> list[str]:
    """Return the first problems that a check found, and the number of the others."""
    every = [*problems]
    more = len(every) - MAX_PROBLEMS_PER_CHECK
    others = [f"{more} more like the last"] if more > 0 else []
    return [*every[:MAX_PROBLEMS_PER_CHECK], *others]
