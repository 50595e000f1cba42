"""The comparison of a data set on disk with the one that was published."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..optional import import_optional
from .files import CHECKS_OF_FILES, Root, inspect_files
from .records import CHECKS_OF_RECORDS, ImageRecord, SplitSize, size_of_split
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
        """True where no problem was found."""
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
    root: Root,
    records: list[ImageRecord],
    splits: Iterable[str],
    published: Mapping[str, SplitSize],
    decode: bool,
    contents: bool,
    progress: bool,
) -> VerificationReport:
    """Check the records and files of a data set.

    ``decode`` also decodes the images, ``contents`` also compares the files by their contents.
    """
    found = {split: size_of_split(records, split) for split in splits}
    files = inspect_files(root, records)
    problems = [p for check in CHECKS_OF_FILES for p in _abbreviate(check(files))]
    problems += [p for check in CHECKS_OF_RECORDS for p in _abbreviate(check(records))]
    for split, size in found.items():
        if published.get(split, size) != size:
            sources = _annotation_files(records, split)
            problems.append(f"{split} has {size}, not {published[split]} ({sources})")
    usable = [file.record for file in files if file.escape is None and file.unusable is None]
    if contents:
        problems += _abbreviate(_equal_contents(usable, progress))
    if decode:
        problems += _abbreviate(_decoding_errors(usable, progress))
    return VerificationReport(name, tuple(problems), published, found)


def _equal_contents(records: list[ImageRecord], progress: bool) -> Iterator[str]:
    """Hash every file; yield a problem for each whose content an earlier one has."""
    first: dict[bytes, ImageRecord] = {}
    paths = [record.path for record in records]
    digests = _map_with_progress(_digest, paths, "hashing", progress)
    for record, digest in zip(records, digests, strict=True):
        if digest is None:
            yield f"{record.location}: {record.path} cannot be read"
            continue
        earlier = first.setdefault(digest, record)
        if earlier is not record:
            yield (
                f"{record.location}: {record.path} has the same content as {earlier.path} "
                f"({earlier.location})"
            )


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None


def _decoding_errors(records: list[ImageRecord], progress: bool) -> Iterator[str]:
    """Decode every file; yield an error for each that fails."""
    paths = [record.path for record in records]
    for error in _map_with_progress(_decoding_error, paths, "decoding", progress):
        if error:
            yield error


Result = TypeVar("Result")


def _map_with_progress(
    function: Callable[[str], Result], paths: list[str], activity: str, progress: bool
) -> Iterator[Result]:
    """Apply the function to every path, in threads, with a progress bar."""
    bar = import_optional("tqdm", "datasets").tqdm
    with ThreadPoolExecutor() as pool:  # decoding and hashing release the interpreter lock
        yield from bar(pool.map(function, paths), activity, len(paths), disable=not progress)


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
