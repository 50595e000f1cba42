"""Pictures of one's own: a folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..optional import optional
from .images import ImageDataset
from .rows import Row

SPLITS = {"train", "val", "valid", "validation", "test", "query", "gallery"}  # no classes


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
        names = {path.name for path in root.iterdir() if path.is_dir()}
        if {*cls.splits} <= names:
            found = [(c, split) for split in cls.splits for c in _classes(root / split)]
        elif splits := sorted(names & SPLITS):
            raise ValueError(f"{root} has {', '.join(splits)}, but not train and test. {cls.where}")
        else:
            classes = _classes(root)
            half = (len(classes) + 1) // 2
            found = [(c, "train" if i < half else "test") for i, c in enumerate(classes)]
        labels = {
            name: i for i, name in enumerate(sorted({folder.name for (folder, _), _ in found}))
        }
        return [
            Row(str(path), labels[folder.name], folder.name, split, str(folder))
            for (folder, images), split in found
            for path in images
        ]


def _classes(root: Path) -> list[tuple[Path, list[Path]]]:
    """The folders in which there are images, by name, and these."""
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [(folder, images) for folder in folders if (images := [*_images(folder)])]


def _images(path: Path) -> Iterator[Path]:
    endings = tuple(optional("PIL.Image", "datasets").registered_extensions())
    for base, folders, files in os.walk(path):
        folders.sort()  # in place, which is how os.walk is told the order
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(endings):
                yield Path(base, name)
