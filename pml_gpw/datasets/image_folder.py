"""Images of one's own: a folder per class."""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from typing_extensions import override

from .. import checks
from .image_dataset import ImageDataset, PathLike
from .records import ImageRecord
from .rgb import Colour

# Folders of these names, in whatever case, are splits and not classes.
TRAIN_NAMES = ("train", "training", "trainval")
TEST_NAMES = ("val", "valid", "validation", "dev", "test", "testing", "query", "gallery")
SPLIT_NAMES = frozenset((*TRAIN_NAMES, *TEST_NAMES))
# Pillow reads more, but .pdf, .eps, .h5, .mpg and their like are not images alone.
OF_THE_WEB = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".jp2")
OTHERS = (".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
EXTENSIONS = frozenset((*OF_THE_WEB, *OTHERS))
OF_SERVERS = ("@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot")
SYSTEM_FOLDERS = frozenset((*OF_SERVERS, "$recycle.bin", "system volume information", "__macosx"))
"""Folders of thumbnails and of what was thrown away; in whatever case."""
WHITE = (255, 255, 255)
HALF = 0.5


class ImageFolder(ImageDataset):
    """A folder of images per class, split by class.

    ``root/<class>/…``: sorted by name, the first half of the classes (or ``train_share``) are for
    training and the others for test, as is the custom of the field. ``root/train/<class>/…`` and
    ``root/test/<class>/…``: the split that you chose; a class in both is refused, and so is a
    further folder with images, such as ``root/val/``, which would be in no split. Images may lie
    in nested folders, and folders may be links. Labels number the classes of all splits together,
    so that no label stands for two classes.

    Images are the files named .jpg, .jpeg, .jpe, .jfif, .jp2, .png, .webp, .avif, .gif (its first
    frame), .bmp, .tif, .tiff, .ppm, .pgm, .pbm and .pnm, in whatever case. Other files, hidden
    ones and folders of systems, such as ``@eaDir`` and ``$RECYCLE.BIN``, are left out. Warnings
    tell of images that lie in no class folder, and of a root that is itself a split beside others.

    Args:
        background: the colour (red, green, blue), each in 0..255, on which transparent images are
            composited; white by default. None drops the transparency, which shows the colours
            that it hid.
        train_share: the share of the classes, the first by name, that is for training where there
            are no folders of splits; in (0, 1), rounded up, with a class left for the test.
        exif_orientation: whether images are turned as their camera recorded, as viewers show them;
            the published data sets, whose results are without it, do not turn theirs.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from pml_gpw.datasets import ImageFolder
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("ash", "birch", "cedar", "elm"):
    ...     path = Path(folder.name, name)
    ...     path.mkdir()
    ...     Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path / "transparent.png")
    >>> ImageFolder(folder.name, "train").classes
    {0: 'ash', 1: 'birch'}
    >>> test = ImageFolder(folder.name, "test", background=(255, 0, 0))
    >>> image, label = test[0]
    >>> image.getpixel((0, 0)), label, test.classes[label]
    ((255, 0, 0), 2, 'cedar')
    >>> folder.cleanup()
    """

    download_instructions = (
        "root must hold a folder per class, or train/ and test/ with a folder per class each."
    )

    def __init__(
        self,
        root: PathLike,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        download: bool = False,
        allow_links: bool = False,
        background: Colour | None = WHITE,
        train_share: float = HALF,
        exif_orientation: bool = True,
    ) -> None:
        checks.instance("exif_orientation", exif_orientation, bool)
        self.exif_orientation = exif_orientation
        self.background = _check_background(background)
        self.train_share = _check_share(train_share)
        super().__init__(root, split, transform, target_transform, download, allow_links)

    @classmethod
    @override
    def read(cls, root: Path, train_share: float = HALF) -> list[ImageRecord]:
        _, names, _ = next(_walk(str(root)))
        if {*cls.splits} <= {*names}:
            _refuse_other_folders(cls, root, names)
            found = [(c, split) for split in cls.splits for c in _find_classes(str(root / split))]
        elif splits := [name for name in names if name.lower() in SPLIT_NAMES]:
            raise ValueError(
                f"{root} has {', '.join(splits)}, but not both of train and test, in lower case. "
                f"{cls.download_instructions}"
            )
        else:
            _warn_of_a_split(root)
            classes = _find_classes(str(root))
            share = Fraction(str(train_share))  # 0.1 of 10 is 1, not a little more
            first = min(math.ceil(share * len(classes)), max(1, len(classes) - 1))
            found = [(c, "train" if i < first else "test") for i, c in enumerate(classes)]
        _warn_of_images_without_class(root, cls.splits if {*cls.splits} <= {*names} else ())
        labels = {
            name: label for label, name in enumerate(sorted({name for (name, _), _ in found}))
        }
        return [
            ImageRecord(path, labels[name], name, split, os.path.dirname(path))
            for (name, images), split in found
            for path in images
        ]

    @override
    def _read_own(self) -> list[ImageRecord]:
        return self.read(self.root, self.train_share)


def _check_background(background: Any) -> Colour | None:
    if background is None:
        return None
    is_colour = isinstance(background, (tuple, list)) and len(background) == 3
    if not is_colour or not all(type(v) is int and 0 <= v <= 255 for v in background):
        raise ValueError(f"background must be None or three integers in 0..255, got {background!r}")
    red, green, blue = background
    return red, green, blue


def _check_share(share: Any) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise ValueError(f"train_share must be a number in (0, 1), got {share!r}")
    return float(share)


def _walk(path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder from a path on, links to folders included, with its folders and its images.

    By name and without hidden ones; a folder to which several links lead is there once.
    """
    seen: set[str] = set()
    for folder, folders, files in os.walk(path, onerror=_raise, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if f[0] != "." and f.lower() not in SYSTEM_FOLDERS)
        images = (f for f in files if f[0] != "." and f[f.rfind(".") :].lower() in EXTENSIONS)
        yield folder, folders, sorted(images)


def _raise(error: OSError) -> None:
    raise error


def _find_classes(path: str) -> list[tuple[str, list[str]]]:
    """Return the folders that contain images by name, with their images."""
    _, names, _ = next(_walk(path))
    classes = ((name, _list_images(os.path.join(path, name))) for name in names)
    return [(name, images) for name, images in classes if images]


def _list_images(folder: str) -> list[str]:
    """Return the images in a folder and its folders, in the order of their names."""
    return [os.path.join(path, name) for path, _, names in _walk(folder) for name in names]


def _refuse_other_folders(cls: type[ImageFolder], root: Path, names: list[str]) -> None:
    """Raise a ValueError for a folder with images beside those of the splits."""
    for name in names:
        if name not in cls.splits and _list_images(str(root / name)):
            raise ValueError(
                f"root must hold images in {' and '.join(cls.splits)} only, got also some in "
                f"{root / name}, which would be in no split: move that folder into one of these, "
                "or out of root"
            )


def _warn_of_a_split(root: Path) -> None:
    """Warn of a root that is named as a split and lies beside another one."""
    path = root.resolve()
    if path.name.lower() in SPLIT_NAMES and os.access(path.parent, os.R_OK):
        _, names, _ = next(_walk(str(path.parent)))
        if others := [n for n in names if n.lower() in SPLIT_NAMES and n != path.name]:
            warnings.warn(
                f"root {root} is itself a split, beside {', '.join(others)}, and its classes are "
                f"split again: give {path.parent} as root where that is not what you want",
                stacklevel=6,
            )


def _warn_of_images_without_class(root: Path, splits: tuple[str, ...]) -> None:
    for folder in (root, *(root / split for split in splits)):
        _, _, images = next(_walk(str(folder)))
        if images:
            warnings.warn(
                f"{folder} has {len(images)} images in no class folder, such as {images[0]}: "
                "they are left out",
                stacklevel=6,
            )
