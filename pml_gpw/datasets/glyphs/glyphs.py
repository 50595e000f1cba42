"""Glyphs: letters of many scripts in many font faces, the data set that needs no download."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from ...optional import import_optional
from ..split_dataset import SplitDataset
from . import cache, construction, fonts


class Glyphs(SplitDataset):
    """Letters as classes, font faces as instances; the test split has other scripts.

    The training split has Latin letters (356 classes, 4,697 images); the test split has Greek,
    Cyrillic, Armenian, Georgian and Lao letters (284 classes, 3,204 images). Each letter is
    rendered once in each of the 8 to 16 faces of DejaVu and STIX that have it, scaled to fill the
    image, and distorted: its corners move by up to 4 pixels, its ink fades by up to half, its
    pixels get noise. Letters that look alike (A, Α and А) would have labels that contradict the
    images: of letters with two undistorted renderings, in whatever faces, of a cosine similarity
    above 0.94, one is a class and the others are left out. So no two classes look alike, within a
    split or across.

    Difficulty, as leave-one-out Recall@1 on the test split: raw pixels 46 %; a CNN of three
    convolutions trained with the Multi-Similarity loss on batches of 80 about 83 % after 300
    iterations, 86 % after 500, 89 % after 2,000.

    The fonts are those that matplotlib ships (DejaVu: Bitstream Vera licence and public domain;
    STIX: STIX Font Licence; both texts lie beside the fonts). Nothing is downloaded: the images
    are rendered in some seconds and kept in one file, ``glyphs.cache``, for both splits. The same
    versions of matplotlib, Pillow, NumPy and Python make the same bytes; under other versions, or
    when the file is damaged, it is made again, with a warning; where it cannot be written (a disk
    that is full or read-only, a folder in its place), the data set warns and works without it.
    Other versions of the fonts may have other letters, so counts can differ by a few.

    Args:
        root: folder of that file, made if needed. None: ``$XDG_CACHE_HOME/pml-gpw``, or
            ``~/.cache/pml-gpw``.
        split: ``"train"`` or ``"test"``.
        transform: called with each image as a PIL image of mode "L", 32x32, white ink on black.

    ``dataset[i]`` is (image, label): the label an int; the image whatever ``transform`` returns,
    without one a float32 tensor (1, 32, 32) of values in [0, 1], the gray levels / 255.

    Attributes:
        images: uint8 tensor (n, 32, 32) of n images, gray levels.
        labels: int64 tensor (n,), ascending: 0, 1, ... in "train", and "test" counts on from
            there, so that both splits can be put together.
        classes: dict, label -> the letter.
        characters: tuple (n,) of str, the letter of each image.
        faces: tuple (n,) of str, the font face of each image.

    Errors: ValueError for another split, a root that is not a folder, a transform that cannot be
    called; ImportError without matplotlib or Pillow (``pip install "pml-gpw[glyphs]"``).

    >>> import tempfile
    >>> from pml_gpw.datasets import Glyphs
    >>> folder = tempfile.TemporaryDirectory()  # without a folder, the user's cache
    >>> train = Glyphs(folder.name, "train")
    >>> image, label = train[0]
    >>> image.shape, label, train.classes[label]
    (torch.Size([1, 32, 32]), 0, 'A')
    >>> folder.cleanup()
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be None or callable, got {transform!r}")
        self.root = _resolve_root(root)
        self.split = split
        self.transform = transform

        arrays = cache.load_or_build(
            self.root / "glyphs.cache", construction.cache_key(), construction.build_arrays
        )
        in_split = arrays["test"] == (split == "test")
        labels = arrays["labels"][in_split]
        self.images = torch.from_numpy(arrays["images"][in_split])
        self.labels = torch.from_numpy(labels)
        self.characters: tuple[str, ...] = tuple(arrays["letters"][labels].tolist())
        self.faces = tuple(fonts.FACES[face] for face in arrays["faces"][in_split])
        self.classes: dict[int, str] = dict(zip(labels.tolist(), self.characters, strict=True))

    def digest(self) -> str:
        """Name the images by their pixels, their labels and their split."""
        digest = hashlib.sha256(self.split.encode())
        for tensor in (self.images, self.labels):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:12]

    @override
    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.images[index], int(self.labels[index])
        if self.transform is None:
            return image.float().div(255).unsqueeze(0), label
        image_module = import_optional("PIL.Image", "glyphs")
        return self.transform(image_module.fromarray(image.numpy())), label

    def __repr__(self) -> str:
        return (
            f"Glyphs(split={self.split!r}, {len(self)} images of {len(self.classes)} letters, "
            f"root={str(self.root)!r})"
        )


def _resolve_root(root: Any) -> Path:
    """Return the folder of the cache file, or raise a ValueError."""
    if root is None:
        return cache.default_folder()
    if root in SplitDataset.splits:
        raise ValueError(f"root must be a folder, got {root!r}: write split={root!r}")
    if not isinstance(root, (str, os.PathLike)):
        raise ValueError(f"root must be None or the path of a folder, got {root!r}")
    folder = Path(root)
    try:
        folder.exists()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            length = len(str(folder))
            raise ValueError(f"root must be a shorter path, got {length:,} characters") from None
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"root must be a folder, or not exist yet, got the file {str(root)!r}")
    return folder
