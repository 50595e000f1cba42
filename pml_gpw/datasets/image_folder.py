"""Images of one's own: a folder per class."""

import errno
import math
import os
import warnings
from collections.abc import Callable
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

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
WEB_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif")
EXTENSIONS = frozenset(
    (*WEB_EXTENSIONS, ".jp2", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
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
    That a file is empty is found when it is read and by ``verify``, since to look up the size of
    every file takes longer than to list them.

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
        folders = _visible_folders(str(root))
        names = {folder.name for folder in folders}
        if {*cls.splits} <= names:
            _refuse_other_folders(cls, folders)
            found = [(c, split) for split in cls.splits for c in _find_classes(str(root / split))]
        elif splits := sorted(name for name in names if name.lower() in SPLIT_NAMES):
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
        _warn_of_images_without_class(root, cls.splits if {*cls.splits} <= names else ())
        class_names = sorted({class_folder.name for class_folder, _ in found})
        labels = {name: label for label, name in enumerate(class_names)}
        return [
            ImageRecord(path, label, name, split, folder, identity)
            for (name, folder, images), split in found
            for label in (labels[name],)
            for path, identity in images
        ]

    @override
    def _read_own(self) -> list[ImageRecord]:
        return self.read(self.root, self.train_share)


# The path, and (device, inode) of the file where the listing of its folder shows it.
ListedImage = tuple[str, tuple[int, int] | None]


class ClassFolder(NamedTuple):
    """A folder that contains images."""

    name: str
    path: str
    images: list[ListedImage]


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


def _visible_folders(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        folders = [e for e in entries if not e.name.startswith(".") and _is_folder(e)]
    return sorted(folders, key=attrgetter("name"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower() not in SYSTEM_FOLDERS and _unless_loop(entry.is_dir)


def _unless_loop(question: Callable[[], bool]) -> bool:
    """The answer about what a link leads to; no for one that leads to itself, as to nothing."""
    try:
        return question()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _find_classes(path: str) -> list[ClassFolder]:
    """Return the folders that contain images, sorted by name."""
    folders = _visible_folders(path)
    classes = (ClassFolder(f.name, f.path, _list_images(f.path)) for f in folders)
    return [folder for folder in classes if folder.images]


def _list_images(folder: str) -> list[ListedImage]:
    """Return the images in a folder and its folders, in the order of their names."""
    images: list[ListedImage] = []
    _append_images(images, folder, os.path.islink(folder), ())
    return images


def _append_images(
    images: list[ListedImage], folder: str, linked: bool, parents: tuple[tuple[int, int], ...]
) -> None:
    """Append the images in a folder, and in its folders.

    Folders that are links are followed, but not back to one of ``parents``. The identity of a file
    comes from the listing of its folder; below a link (``linked``) it is left open, since where
    that leads has to be looked up. This runs for every file, so it avoids calls and copies.
    """
    status = os.stat(folder)
    device, this = status.st_dev, (status.st_dev, status.st_ino)
    if this in parents:
        return
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=attrgetter("name"))
    folders = []
    for entry in ordered:
        name = entry.name
        if name[0] == ".":
            continue
        is_image = name[name.rfind(".") :].lower() in EXTENSIONS
        if entry.is_file(follow_symlinks=False):
            if is_image:
                images.append((entry.path, None if linked else (device, entry.inode())))
        elif _is_folder(entry):
            folders.append(entry)
        elif is_image:  # a link to a file, or what cannot be an image
            images.append((entry.path, None))
    for entry in folders:
        _append_images(images, entry.path, linked or entry.is_symlink(), (*parents, this))


def _is_image_file(entry: os.DirEntry[str]) -> bool:
    has_extension = os.path.splitext(entry.name)[1].lower() in EXTENSIONS
    return has_extension and _unless_loop(entry.is_file)


def _refuse_other_folders(cls: type[ImageFolder], folders: list[os.DirEntry[str]]) -> None:
    """Raise a ValueError for a folder with images beside those of the splits."""
    for folder in folders:
        if folder.name not in cls.splits and _list_images(folder.path):
            raise ValueError(
                f"root must hold images in {' and '.join(cls.splits)} only, got also some in "
                f"{folder.path}, which would be in no split: move that folder into one of these, "
                "or out of root"
            )


def _warn_of_a_split(root: Path) -> None:
    """Warn of a root that is named as a split and lies beside another one."""
    path = root.resolve()
    if path.name.lower() in SPLIT_NAMES:
        beside = {folder.name for folder in _visible_folders(str(path.parent))} - {path.name}
        if others := sorted(name for name in beside if name.lower() in SPLIT_NAMES):
            warnings.warn(
                f"root {root} is itself a split, beside {', '.join(others)}, and its classes are "
                f"split again: give {path.parent} as root where that is not what you want",
                stacklevel=6,
            )


def _warn_of_images_without_class(root: Path, splits: tuple[str, ...]) -> None:
    for folder in (root, *(root / split for split in splits)):
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if _is_image_file(e)]
        if visible := sorted(name for name in names if not name.startswith(".")):
            warnings.warn(
                f"{folder} has {len(visible)} images in no class folder, such as {visible[0]}: "
                "they are left out",
                stacklevel=6,
            )
