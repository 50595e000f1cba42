"""Glyphs: letters of many scripts in many font faces, the data set that needs no download."""

import hashlib
import inspect
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from . import cache, fonts, lookalikes, rendering

SCRIPTS = {
    "train": ("LATIN",),
    "test": ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "LAO", "COPTIC", "TIFINAGH", "NKO"),
}
MIN_FACES = 5  # a class has at least this many images, one per face
LOOKALIKE = 0.95  # two letters more alike than this, drawn cleanly in one face, are one class
MAX_SHIFT = 4.0  # pixels by which the corners of a picture move
MAX_FADE = 0.5  # part of its brightness that the ink can lose
NOISE = 10.0  # standard deviation of the pixels, in grey levels of 255


class Glyphs(Dataset[tuple[Any, int]]):
    """Letters as classes, font faces as instances: small, real, and never seen in training.

    The task: recognise which of two pictures of unknown letters show the same one. Latin letters
    train; Greek, Cyrillic, Armenian, Georgian and Lao letters test. A letter is drawn in each of
    the 5 to 16 faces of DejaVu and STIX that have it, then distorted once: its corners
    move by up to 4 pixels, its ink fades, its pixels get noise. Letters that look alike (A, Α
    and А) would be labels that contradict the pictures: of letters whose clean drawings have a
    cosine similarity above 0.95 in any face only one is a class, so no look-alikes are on both
    sides of the split either.

    The fonts are those that matplotlib ships (DejaVu: Bitstream Vera licence and public domain;
    STIX: STIX Font Licence; both texts lie beside the fonts). Nothing is downloaded; the pictures
    are drawn in some seconds and kept in one file, ``glyphs.npz``, for both splits. The same
    versions of matplotlib, Pillow, NumPy and Python draw the same bytes; under other versions, or
    when the file is damaged, it is drawn again, with a warning.

    Arguments
        root: folder of that file, made if needed. None: ``$XDG_CACHE_HOME/pml-gpw``, or
            ``~/.cache/pml-gpw``.
        split: ``"train"`` or ``"test"``.
        transform: called with each image as a PIL image of mode "L", 32x32, white ink on black.

    ``dataset[i]`` is (image, label): the label an int; the image whatever ``transform`` returns,
    without one a float32 tensor (1, 32, 32) of values in [0, 1], the grey levels / 255.

    Attributes, for n images
        images: uint8 tensor (n, 32, 32).
        labels: int64 tensor (n,). Labels differ between the splits, as classes do; in "train" they
            count from 0.
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
        if split not in SCRIPTS:
            raise ValueError(f"split must be one of {', '.join(map(repr, SCRIPTS))}, got {split!r}")
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be None or callable, got {transform!r}")
        self.root = cache.user_folder() if root is None else _folder("root", root)
        self.split = split
        self.transform = transform

        arrays = cache.load_or_build(self.root / "glyphs.npz", _recipe(), _draw)
        rows = arrays["split"] == list(SCRIPTS).index(split)
        self.images = torch.from_numpy(arrays["images"][rows])
        self.labels = torch.from_numpy(arrays["labels"][rows])
        self.faces = tuple(fonts.FACES[face] for face in arrays["faces"][rows])
        self.characters = tuple(arrays["letters"][arrays["labels"][rows]].tolist())
        self.classes: dict[int, str] = dict(zip(self.labels.tolist(), self.characters, strict=True))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        label = int(self.labels[index])
        image: Tensor = self.images[index]
        if self.transform is None:
            return image.float().div(255).unsqueeze(0), label
        return self.transform(fonts.optional("PIL.Image").fromarray(image.numpy())), label

    def __repr__(self) -> str:
        return (
            f"Glyphs(split={self.split!r}, {len(self)} images of {len(self.classes)} letters, "
            f"root={str(self.root)!r})"
        )


def _folder(name: str, path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"{name} must be None or the path of a folder, got {path!r}")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name} must be a folder (or not exist yet), got the file {str(path)!r}")
    return folder


def _recipe() -> str:
    """Everything the pictures depend on: a file made by another recipe is out of date."""
    modules = (sys.modules[__name__], fonts, lookalikes, rendering)
    files = [Path(inspect.getfile(module)) for module in modules] + fonts.paths()
    return json.dumps(
        {
            "numpy": np.__version__,
            "pillow": fonts.optional("PIL").__version__,
            "freetype": fonts.optional("PIL.features").version("freetype2"),
            "unicode": unicodedata.unidata_version,
            **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        }
    )


def _draw() -> cache.Arrays:
    """Both splits: ``letters`` (C,) str; ``images``, ``labels``, ``faces``, ``split`` (n, ...)."""
    scripts = [script for names in SCRIPTS.values() for script in names]
    alphabet, drawings, labels, faces = _clean_drawings(tuple(scripts))
    # The training letters come first: of look-alikes in both splits the training one stays.
    kept = lookalikes.distinct(lookalikes.similarity(drawings, labels, faces), LOOKALIKE)
    rows = np.flatnonzero(np.isin(labels, kept))
    letters = [alphabet[label] for label in kept]
    labels = np.searchsorted(kept, labels[rows])
    faces = faces[rows]
    images = np.stack(
        [
            rendering.photographed(
                drawings[row],
                # Of the picture, not of its place in the data set: another letter more or less
                # leaves it as it is.
                np.random.default_rng([ord(letters[label]), face]),
                MAX_SHIFT,
                MAX_FADE,
                NOISE,
            )
            for row, label, face in zip(rows, labels, faces, strict=True)
        ]
    )
    split = [fonts.script(letter) not in SCRIPTS["train"] for letter in letters]
    return {
        "images": images,
        "labels": labels.astype(np.int64),
        "faces": faces,
        "split": np.array(split, np.int64)[labels],
        "letters": np.array(letters),
    }


def _clean_drawings(
    scripts: tuple[str, ...],
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """The letters (C,), and of each drawing: (n, 48, 48) itself, its letter, its face."""
    pens = [rendering.pen(path) for path in fonts.paths()]
    alphabet: list[str] = []
    drawings, labels, faces = [], [], []
    candidates = fonts.letters(scripts, MIN_FACES)
    for letter, having in tqdm(candidates.items(), "drawing glyphs", leave=False):
        drawn = [(rendering.clean(pens[face], letter), face) for face in having]
        drawn = [(drawing, face) for drawing, face in drawn if drawing is not None]
        if len(drawn) >= MIN_FACES:
            drawings += [drawing for drawing, _ in drawn]
            faces += [face for _, face in drawn]
            labels += [len(alphabet)] * len(drawn)
            alphabet.append(letter)
    return alphabet, np.stack(drawings), np.array(labels), np.array(faces)
