"""The base class of the data sets of image files."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from . import downloads, verification
from .files import Root, first_problem
from .records import CHECKS_OF_RECORDS, ImageRecord, SplitSize, size_of_split
from .rgb import Colour, open_rgb
from .split_dataset import SplitDataset

PathLike = str | os.PathLike[str]


class ImageDataset(SplitDataset):
    """Images in files, with integer labels and splits that share no class.

    The interface is that of the data sets of pytorch-metric-learning: ``paths``, ``labels``,
    ``split``, ``transform``, ``target_transform``, ``download``. Unlike there, every image is
    converted to RGB, so that a grayscale file does not break a batch, and a folder that cannot be
    right is refused when the data set is made, not in the middle of a training.

    Args:
        root: the folder of the data set.
        split: one of ``splits``; training and test share no class.
        transform: called with each image, a PIL image of mode RGB.
        target_transform: called with each label, an int.
        download: fetch the files first, if they are not there and have a known source.
        allow_links: True: links may lead to files outside of ``root``. Annotations never may, by
            ``..`` or by an absolute path.

    ``dataset[i]`` is (image, label), the image whatever ``transform`` returns.

    Attributes:
        paths: list (n,) of str, for n images.
        labels: list (n,) of int.
        classes: dict, label -> name of the class.

    Errors: ValueError naming the file and line of an annotation that cannot be right, of a path
    out of ``root``, of an image that is missing, empty or listed twice, of a class that is both in
    training and in test; and, when it is read, an image that cannot be decoded. An image is listed
    twice where two paths lead to the same file, also by another spelling or by a link. A split of
    another size than published is a warning.

    A data set of your own is a subclass with ``read``:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import ImageDataset, ImageRecord
    >>> class Trees(ImageDataset):
    ...     @classmethod
    ...     def read(cls, root):
    ...         return [
    ...             ImageRecord(str(root / "ash.png"), 0, "ash", "train", "line 1"),
    ...             ImageRecord(str(root / "elm.png"), 1, "elm", "test", "line 2"),
    ...         ]
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("ash", "elm"):
    ...     Image.new("L", (8, 8)).save(Path(folder.name, f"{name}.png"))
    >>> image, label = Trees(folder.name, "test")[0]
    >>> image.mode, label
    ('RGB', 1)
    >>> folder.cleanup()
    """

    published: ClassVar[dict[str, SplitSize]] = {}
    """The classes and images of each split, as published."""
    download_instructions: ClassVar[str] = ""
    """The place to get the files, and the form that the folder must have."""
    archive: ClassVar[downloads.Archive | None] = None
    """The archive that ``download`` fetches: one with a lasting source and a known checksum."""
    background: Colour | None = None
    """The colour on which transparent images are composited; None drops the transparency."""
    exif_orientation: bool = False
    """True where images are turned as their camera recorded, which published results do not do."""

    def __init__(
        self,
        root: PathLike,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
        allow_links: bool = False,
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"split must be one of {', '.join(self.splits)}, got {split!r}")
        for name, function in (("transform", transform), ("target_transform", target_transform)):
            if function is not None and not callable(function):
                raise ValueError(f"{name} must be None or callable, got {function!r}")
        if download:
            self.download(root)
        self.root, self.split = self._check_root(root), split
        self.transform, self.target_transform = transform, target_transform
        records = self._check_records(self._read_own(), allow_links)
        self.paths = [record.path for record in records]
        self.labels = [record.label for record in records]
        self.classes = {record.label: record.class_name for record in records}

    @classmethod
    def read(cls, root: Path) -> list[ImageRecord]:
        """Return the records of all splits, as the annotation files below ``root`` list them.

        Raises:
            ValueError: naming the file and line that cannot be right.
        """
        raise NotImplementedError

    def _read_own(self) -> list[ImageRecord]:
        """Return the records of all splits, as this object splits them."""
        return self.read(self.root)

    @classmethod
    def download(cls, root: PathLike) -> bool:
        """Put the files below ``root`` unless they exist; return whether they were put there.

        Raises:
            ValueError: if there is no reliable source, or the file is not the published one.
        """
        if cls.archive is None:
            raise ValueError(
                f"download must be False: {cls.__name__} has no source to rely on. "
                f"{cls.download_instructions}"
            )
        try:
            cls.read(Path(root))
        except ValueError:
            return downloads.download(cls.archive, root)
        return False

    @classmethod
    def verify(
        cls,
        root: PathLike,
        decode: bool = True,
        progress: bool = True,
        contents: bool = False,
        allow_links: bool = False,
    ) -> verification.VerificationReport:
        """Compare the files below ``root`` with what was published, and list all problems.

        It checks the annotation files; the classes and images of each split; paths that leave
        ``root``; images that are listed twice, missing, empty or cannot be decoded; classes that
        are both in training and in test; and queries whose class is not in the gallery.

        Args:
            root: the folder.
            decode: whether every image is decoded, which takes minutes for the large data sets.
            progress: whether a progress bar is shown.
            contents: whether files with the same content are found too, by a hash of every file.
                Such copies find each other: Recall@1 is too high where they have one label.
            allow_links: whether links may lead to files out of ``root``.

        Raises:
            ValueError: if ``root`` is not a folder.
        """
        path = cls._check_root(root)
        try:
            records = cls.read(path)
        except ValueError as error:
            return verification.VerificationReport(cls.__name__, (str(error),))
        if not records:
            none = f"{path} holds no image. {cls.download_instructions}"
            return verification.VerificationReport(cls.__name__, (none,))
        return verification.verify_records(
            cls.__name__,
            Root(path, allow_links),
            records,
            cls.splits,
            cls.published,
            decode,
            contents,
            progress,
        )

    def digest(self) -> str:
        """Name the images by their paths below ``root``, their labels and their split.

        "published" stands before it where there are as many images and classes as published.
        Contents are not read: ``verify`` looks at those.
        """
        digest = hashlib.sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{self.split} {os.path.relpath(path, self.root)} {label}\n".encode())
        published = self.published.get(self.split) == (len(self.classes), len(self))
        return f"{'published ' * published}{digest.hexdigest()[:12]}"

    @classmethod
    def _check_root(cls, root: PathLike) -> Path:
        if not isinstance(root, (str, os.PathLike)):
            raise ValueError(f"root must be the path of a folder, got {root!r}")
        if not os.path.isdir(root):
            raise ValueError(
                f"root must be a folder, got {str(root)!r}, which is none. "
                f"{cls.download_instructions}"
            )
        return Path(root)

    @classmethod
    def _find_folder(cls, root: Path, candidates: Iterable[str], required: str) -> Path:
        """Return the first of the folders ``candidates`` below ``root`` that has ``required``."""
        folders = [root / candidate for candidate in candidates]
        for folder in folders:
            if os.path.exists(folder / required):
                return folder
        expected = " or ".join(str(folder / required) for folder in folders)
        raise ValueError(
            f"root must hold {expected}, none of which is there. {cls.download_instructions}"
        )

    def _check_records(self, records: list[ImageRecord], allow_links: bool) -> list[ImageRecord]:
        """Return the records of this split, after the checks that need not open an image."""
        name = type(self).__name__
        of_records = (problem for check in CHECKS_OF_RECORDS for problem in check(records))
        problem = first_problem(Root(self.root, allow_links), records) or next(of_records, None)
        if problem is not None:
            raise ValueError(f"{problem}. {name}.verify(root) lists all problems")
        size, published = size_of_split(records, self.split), self.published.get(self.split)
        if not size.images:
            raise ValueError(
                f"{name} has no image in split {self.split!r}. {self.download_instructions}"
            )
        if published not in (None, size):
            warnings.warn(f"{name} {self.split} has {size}; published: {published}", stacklevel=3)
        return [record for record in records if record.split == self.split]

    @override
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = open_rgb(self.paths[index], self.background, self.exif_orientation)
        label = self.labels[index]
        return (
            image if self.transform is None else self.transform(image),
            label if self.target_transform is None else self.target_transform(label),
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(split={self.split!r}, {len(self)} images of "
            f"{len(self.classes)} classes, root={str(self.root)!r})"
        )
