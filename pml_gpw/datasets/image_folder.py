"""Images of one's own: a folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from ..optional import import_optional
from .image_dataset import ImageDataset
from .records import ImageRecord

# Folders of these names are splits and not classes.
SPLIT_NAMES = {"train", "val", "valid", "validation", "test", "query", "gallery"}


class ImageFolder(ImageDataset):
    """A folder of images per class, split by class.

    ``root/<class>/…``: sorted by name, the first half of the classes are for training and the
    others for test, as is the custom of the field. ``root/train/<class>/…`` and
    ``root/test/<class>/…``: the split that you chose; a class in both is refused. Images may lie
    in nested folders; hidden files, and files whose names are not those of images, are left out.
    Labels number the classes of all splits together, so that no label stands for two classes.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import ImageFolder
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("ash", "birch", "cedar", "elm"):
    ...     path = Path(folder.name, name)
    ...     path.mkdir()
    ...     Image.new("RGB", (8, 8)).save(path / "1.png")
    >>> ImageFolder(folder.name, "train").classes
    {0: 'ash', 1: 'birch'}
    >>> ImageFolder(folder.name, "test").classes
    {2: 'cedar', 3: 'elm'}
    >>> folder.cleanup()
    """

    download_instructions = (
        "root must hold a folder per class, or train/ and test/ with a folder per class each."
    )

    @classmethod
    @override
    def read(cls, root: Path) -> list[ImageRecord]:
        names = {path.name for path in root.iterdir() if path.is_dir()}
        if {*cls.splits} <= names:
            found = [(c, split) for split in cls.splits for c in _find_classes(root / split)]
        elif splits := sorted(names & SPLIT_NAMES):
            raise ValueError(
                f"{root} has {', '.join(splits)}, but not train and test. "
                f"{cls.download_instructions}"
            )
        else:
            classes = _find_classes(root)
            half = (len(classes) + 1) // 2
            found = [(c, "train" if i < half else "test") for i, c in enumerate(classes)]
        class_names = sorted({folder.name for (folder, _), _ in found})
        labels = {name: label for label, name in enumerate(class_names)}
        return [
            ImageRecord(str(path), labels[folder.name], folder.name, split, str(folder))
            for (folder, images), split in found
            for path in images
        ]


def _find_classes(root: Path) -> list[tuple[Path, list[Path]]]:
    """Return the folders that contain images, sorted by name, with their images."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [(folder, images) for folder in folders if (images := [*_find_images(folder)])]


def _find_images(path: Path) -> Iterator[Path]:
    extensions = tuple(import_optional("PIL.Image", "datasets").registered_extensions())
    for base, folders, files in os.walk(path):
        folders.sort()  # in place, which sets the order of os.walk
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(extensions):
                yield Path(base, name)
