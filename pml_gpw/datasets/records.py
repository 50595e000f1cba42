"""The images of a data set as its annotation files list them, and the checks of that list."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ImageRecord(NamedTuple):
    """One image as the annotations list it.

    Attributes:
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


CHECKS_OF_RECORDS = (classes_in_train_and_test, queries_without_match)
