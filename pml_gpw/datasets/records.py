"""The images of a data set as its annotation files list them, and the checks of that list."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class ImageRecord(NamedTuple):
    """One image as the annotations list it.

    Attributes
        path: the image file.
        label: the class id, an integer >= 0.
        class_name: the name of the class.
        split: the split to which the image belongs.
        location: where this is written, such as "images.txt, line 3"; error messages name it.

    >>> from pml_gpw.datasets import ImageRecord
    >>> ImageRecord("images/ash/1.jpg", 0, "ash", "train", "images.txt, line 1").label
    0
    """

    path: str
    label: int
    class_name: str
    split: str
    location: str


class SplitSize(NamedTuple):
    """The numbers of classes and images of a split."""

    classes: int
    images: int

    def __str__(self) -> str:
        return f"{self.images:,} images of {self.classes:,} classes"


def size_of_split(records: Iterable[ImageRecord], split: str) -> SplitSize:
    """Count the classes and images of a split."""
    labels = Counter(record.label for record in records if record.split == split)
    return SplitSize(len(labels), labels.total())


def duplicate_images(records: list[ImageRecord]) -> Iterator[str]:
    """Find images that are listed twice: such an image is its own nearest neighbour."""
    first: dict[str, ImageRecord] = {}
    for record in records:
        if record.path in first:
            yield f"{record.location}: {record.path} is also in {first[record.path].location}"
        first.setdefault(record.path, record)


def classes_in_train_and_test(records: list[ImageRecord]) -> Iterator[str]:
    """Find classes that are both in training and in test."""
    train = {record.label: record for record in records if record.split == "train"}
    test = {record.label: record for record in records if record.split != "train"}
    for label in sorted(train.keys() & test.keys()):
        yield (
            f"{test[label].location}: class {test[label].class_name!r} is in test and, by "
            f"{train[label].location}, in training"
        )


def queries_without_match(records: list[ImageRecord]) -> Iterator[str]:
    """Find queries whose class has no image in the gallery, where the data set has a gallery."""
    gallery = {record.label for record in records if record.split == "gallery"}
    for record in records:
        if record.split == "query" and record.label not in gallery:
            yield f"{record.location}: {record.class_name!r} has no image in the gallery"


def missing_or_empty_files(records: list[ImageRecord]) -> Iterator[str]:
    """Find image files that do not exist or are empty; each folder is listed once."""
    by_folder: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        by_folder[os.path.dirname(record.path)].append(record)
    for path, members in by_folder.items():
        try:
            with os.scandir(path) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries}
        except OSError:
            sizes = {}
        for record in members:
            size = sizes.get(os.path.basename(record.path))
            if not size:
                problem = "missing" if size is None else "empty"
                yield f"{record.location}: {record.path} is {problem}"


CHECKS: tuple[Callable[[list[ImageRecord]], Iterable[str]], ...] = (
    duplicate_images,
    classes_in_train_and_test,
    queries_without_match,
    missing_or_empty_files,
)
