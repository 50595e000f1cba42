"""The images of a data set as its annotation files list them, and what can be wrong with them."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Row(NamedTuple):
    """One image: its file, the class's number and name, its split, and where that is written."""

    path: str
    label: int
    name: str
    split: str
    source: str


class Size(NamedTuple):
    """Classes and images of a split."""

    classes: int
    images: int

    def __str__(self) -> str:
        return f"{self.images:,} images of {self.classes:,} classes"


def size_of(rows: Iterable[Row], split: str) -> Size:
    """How large a split is."""
    labels = Counter(row.label for row in rows if row.split == split)
    return Size(len(labels), labels.total())


def duplicates(rows: list[Row]) -> Iterator[str]:
    """Rows that name an image of an earlier row: it would find itself."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.path in first:
            yield f"{row.source}: {row.path} is also in {first[row.path].source}"
        first.setdefault(row.path, row)


def shared_classes(rows: list[Row]) -> Iterator[str]:
    """Classes that are trained and tested."""
    trained = {row.label: row for row in rows if row.split == "train"}
    tested = {row.label: row for row in rows if row.split != "train"}
    for label in sorted(trained.keys() & tested.keys()):
        yield (
            f"{tested[label].source}: class {tested[label].name!r} is tested and, by "
            f"{trained[label].source}, trained"
        )


def lone_queries(rows: list[Row]) -> Iterator[str]:
    """Queries without an image in the gallery, where there is one."""
    gallery = {row.label for row in rows if row.split == "gallery"}
    for row in rows:
        if row.split == "query" and row.label not in gallery:
            yield f"{row.source}: {row.name!r} has no image in the gallery"


def missing(rows: list[Row]) -> Iterator[str]:
    """Images that are not there or empty, by one look at each folder."""
    by_folder: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_folder[os.path.dirname(row.path)].append(row)
    for path, members in by_folder.items():
        try:
            with os.scandir(path) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries}
        except OSError:
            sizes = {}
        for row in members:
            size = sizes.get(os.path.basename(row.path))
            if not size:
                yield f"{row.source}: {row.path} is {'missing' if size is None else 'empty'}"


CHECKS: tuple[Callable[[list[Row]], Iterable[str]], ...] = (
    duplicates,
    shared_classes,
    lone_queries,
    missing,
)
