"""Glyphs: letters of many scripts in many font faces, the data set that needs no download."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from ...optional import optional
from . import cache, drawing, fonts

SPLITS = ("train", "test")


class Glyphs(Dataset[tuple[Any, int]]):
    """Letters as classes, font faces as instances; the test split is of other scripts.

    Latin letters train (356 classes, 4,697 images); Greek, Cyrillic, Armenian, Georgian and Lao
    letters test (284 classes, 3,204 images). Each letter is drawn once in each of the 8 to 16
    faces of DejaVu and STIX that have it, scaled to fill the picture, and distorted: its corners
    move by up to 4 pixels, its ink fades by up to half, its pixels get noise. Letters that look
    alike (A, Α and А) would be labels that contradict the pictures: of letters with two clean
    drawings, in whatever faces, of a cosine similarity above 0.94, one is a class and the others
    are left out. So no two classes look alike, within a split or across.

    Difficulty, as leave-one-out Recall@1 on the test split: raw pixels 46 %; a CNN of three
    convolutions trained with the Multi-Similarity loss on batches of 80 about 83 % after 300
    iterations, 86 % after 500, 89 % after 2,000.

    The fonts are those that matplotlib ships (DejaVu: Bitstream Vera licence and public domain;
    STIX: STIX Font Licence; both texts lie beside the fonts). Nothing is downloaded: the pictures
    are drawn in some seconds and kept in one file, ``glyphs.cache``, for both splits. The same
    versions of matplotlib, Pillow, NumPy and Python draw the same bytes; under other versions, or
    when the file is damaged, it is drawn again, with a warning. Other versions of the fonts may
    have other letters, so counts can differ by a few.

    Arguments
        root: folder of that file, made if needed. None: ``$XDG_CACHE_HOME/pml-gpw``, or
            ``~/.cache/pml-gpw``.
        split: ``"train"`` or ``"test"``.
        transform: called with each image as a PIL image of mode "L", 32x32, white ink on black.

    ``dataset[i]`` is (image, label): the label an int; the image whatever ``transform`` returns,
    without one a float32 tensor (1, 32, 32) of values in [0, 1], the grey levels / 255.

    Attributes, for n images
        images: uint8 tensor (n, 32, 32), grey levels.
        labels: int64 tensor (n,), ascending: 0, 1, ... in "train", and "test" counts on from
            there, so that both splits can be put together.
        classes: dict, label -> the letter.
        characters, faces: tuples (n,) of str, the letter and the font face of each image.

    Errors: ValueError for another split, a root that is not a folder, a transform that cannot be
    called; ImportError without matplotlib or Pillow (``pip install "pml-gpw[glyphs]"``).
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be None or callable, got {transform!r}")
        self.root = _folder(root)
        self.split = split
        self.transform = transform

        arrays = cache.load_or_build(self.root / "glyphs.cache", drawing.recipe(), drawing.draw)
        rows = arrays["test"] == (split == "test")
        labels = arrays["labels"][rows]
        self.images = torch.from_numpy(arrays["images"][rows])
        self.labels = torch.from_numpy(labels)
        self.characters: tuple[str, ...] = tuple(arrays["letters"][labels].tolist())
        self.faces = tuple(fonts.FACES[face] for face in arrays["faces"][rows])
        self.classes: dict[int, str] = dict(zip(labels.tolist(), self.characters, strict=True))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.images[index], int(self.labels[index])
        if self.transform is None:
            return image.float().div(255).unsqueeze(0), label
        return self.transform(optional("PIL.Image", "glyphs").fromarray(image.numpy())), label

    def __repr__(self) -> str:
        return (
            f"Glyphs(split={self.split!r}, {len(self)} images of {len(self.classes)} letters, "
            f"root={str(self.root)!r})"
        )


def _folder(root: Any) -> Path:
    if root is None:
        return cache.user_folder()
    if not isinstance(root, (str, os.PathLike)):
        raise ValueError(f"root must be None or the path of a folder, got {root!r}")
    folder = Path(root)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"root must be a folder, or not exist yet, got the file {str(root)!r}")
    return folder
