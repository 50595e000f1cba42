"""What the image data sets have in common."""

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from torch.utils.data import Dataset

from . import downloads, verification
from .rgb import open_rgb
from .rows import CHECKS, Row, Size, size_of

PathLike = str | os.PathLike[str]


class ImageDataset(Dataset[tuple[Any, Any]]):
    """Images in files, with integer labels and splits that share no class.

    The interface is that of the data sets of pytorch-metric-learning: ``paths``, ``labels``,
    ``split``, ``transform``, ``target_transform``, ``download``. Unlike there, every image is
    converted to RGB, so that a grey file does not break a batch, and a folder that cannot be
    right is refused when the data set is made, not in the middle of a training.

    Arguments
        root: the folder of the data set.
        split: one of ``splits``; training and test share no class.
        transform: called with each image, a PIL image of mode RGB.
        target_transform: called with each label, an int.
        download: fetch the files first, if they are not there and have a known source.

    ``dataset[i]`` is (image, label), the image whatever ``transform`` returns.

    Attributes, for n images
        paths: list (n,) of str.
        labels: list (n,) of int.
        classes: dict, label -> name of the class.

    Errors: ValueError naming the file and line of an annotation that cannot be, an image that is
    missing, empty or listed twice, a class that is trained and tested; and, when it is read, an
    image that cannot be decoded. A split of another size than published is a warning.

    A data set of one's own is a subclass with ``read``.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    ks: ClassVar[tuple[int, ...]] = (1, 2, 4, 8)
    """The K of Recall@K that the field reports."""
    queries: ClassVar[str] = "test"
    references: ClassVar[str | None] = None
    """What is searched for, and in what: None where the queries are searched in themselves."""
    published: ClassVar[dict[str, Size]] = {}
    """Classes and images of each split, as published."""
    where: ClassVar[str] = ""
    """Where to get the files and what the folder must look like."""
    archive: ClassVar[downloads.Archive | None] = None
    """What ``download`` fetches: only files with a source that lasts and a known checksum."""

    def __init__(
        self,
        root: PathLike,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"split must be one of {', '.join(self.splits)}, got {split!r}")
        for name, function in (("transform", transform), ("target_transform", target_transform)):
            if function is not None and not callable(function):
                raise ValueError(f"{name} must be None or callable, got {function!r}")
        if download:
            self.download(root)
        self.root, self.split = self._folder(root), split
        self.transform, self.target_transform = transform, target_transform
        rows = self._checked(self.read(self.root))
        self.paths = [row.path for row in rows]
        self.labels = [row.label for row in rows]
        self.classes = {row.label: row.name for row in rows}

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The rows of all splits, as the annotation files below ``root`` list them.

        Raises:
            ValueError: naming the file and line that cannot be.
        """
        raise NotImplementedError

    @classmethod
    def download(cls, root: PathLike) -> bool:
        """Put the files below ``root``, unless they are there; whether they had to be fetched.

        Raises:
            ValueError: if there is no source to rely on, or what comes is not what was published.
        """
        if cls.archive is None:
            raise ValueError(
                f"download must be False: {cls.__name__} has no source to rely on. {cls.where}"
            )
        try:
            cls.read(Path(root))
        except ValueError:
            return downloads.download(cls.archive, root)
        return False

    @classmethod
    def verify(
        cls, root: PathLike, decode: bool = True, progress: bool = True
    ) -> verification.Report:
        """Compare the files below ``root`` with what was published, and list all problems.

        Checked: annotation files; classes and images of each split; images listed twice, missing,
        empty or not to be decoded; classes that are trained and tested; queries without an answer.

        Args:
            root: the folder.
            decode: whether every image is decoded, which takes minutes for the large sets.
            progress: whether a bar shows how far that is.

        Raises:
            ValueError: if ``root`` is no folder.
        """
        path = cls._folder(root)
        try:
            rows = cls.read(path)
        except ValueError as error:
            return verification.unreadable(cls.__name__, str(error))
        return verification.verify(cls.__name__, rows, cls.splits, cls.published, decode, progress)

    @classmethod
    def evaluation_splits(
        cls, root: PathLike, transform: Callable[[Any], Any] | None = None
    ) -> tuple["ImageDataset", "ImageDataset | None"]:
        """Queries and references of the data set's own protocol; None for leave-one-out."""
        references = None if cls.references is None else cls(root, cls.references, transform)
        return cls(root, cls.queries, transform), references

    @classmethod
    def _folder(cls, root: PathLike) -> Path:
        if not isinstance(root, (str, os.PathLike)):
            raise ValueError(f"root must be the path of a folder, got {root!r}")
        if not Path(root).is_dir():
            raise ValueError(
                f"root must be a folder, got {str(root)!r}, which is none. {cls.where}"
            )
        return Path(root)

    @classmethod
    def _first(cls, root: Path, candidates: Iterable[str], holds: str) -> Path:
        """The first of the folders ``candidates`` below ``root`` in which there is ``holds``."""
        folders = [root / candidate for candidate in candidates]
        for candidate in folders:
            if (candidate / holds).exists():
                return candidate
        looked = " or ".join(str(candidate / holds) for candidate in folders)
        raise ValueError(f"root must hold {looked}, none of which is there. {cls.where}")

    def _checked(self, rows: list[Row]) -> list[Row]:
        """The rows of this split, after checks that need not open an image."""
        name = type(self).__name__
        for check in CHECKS:
            for problem in check(rows):
                raise ValueError(f"{problem}. {name}.verify(root) lists all problems")
        size, wanted = size_of(rows, self.split), self.published.get(self.split)
        if not size.images:
            raise ValueError(f"{name} has no image in split {self.split!r}. {self.where}")
        if wanted not in (None, size):
            warnings.warn(f"{name} {self.split} has {size}; published: {wanted}", stacklevel=3)
        return [row for row in rows if row.split == self.split]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = open_rgb(self.paths[index]), self.labels[index]
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(split={self.split!r}, {len(self)} images of "
            f"{len(self.classes)} classes, root={str(self.root)!r})"
        )
