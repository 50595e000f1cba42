"""Pictures of one's own: a folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..optional import optional
from .images import ImageDataset
from .rows import Row


class ImageFolder(ImageDataset):
    """A folder per class, split by class.

    ``root/<class>/…``: sorted by name, the first half of the classes train and the others test,
    as is the custom of the field. ``root/train/<class>/…`` and ``root/test/<class>/…``: as you
    have split them; a class in both is refused. Images may lie in folders of folders; files that
    are no images by their name, and hidden ones, are left out. Labels count the classes of all
    splits, so that no label stands for two.
    """

    where = "root must hold a folder per class, or train/ and test/ with a folder per class each."

    @classmethod
    def read(cls, root: Path) -> list[Row]:
        """The images found below ``root``."""
        if all((root / split).is_dir() for split in cls.splits):
            folders = [(f, split) for split in cls.splits for f in _folders(root / split)]
        else:
            found = _folders(root)
            half = (len(found) + 1) // 2
            folders = [(f, "train" if i < half else "test") for i, f in enumerate(found)]
        labels = {name: i for i, name in enumerate(sorted({f.name for f, _ in folders}))}
        return [
            Row(str(path), labels[f.name], f.name, split, str(f))
            for f, split in folders
            for path in _images(f)
        ]


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(path: Path) -> Iterator[Path]:
    endings = tuple(optional("PIL.Image", "datasets").registered_extensions())
    for base, folders, files in os.walk(path):
        folders.sort()  # in place, which is how os.walk is told the order
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(endings):
                yield Path(base, name)
