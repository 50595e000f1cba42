"""The whole of Glyphs, both splits, as arrays: letters chosen, drawn, told apart, distorted."""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...optional import optional
from . import fonts, lookalikes, rendering
from .cache import Arrays

SCRIPTS = {"train": ("LATIN",), "test": ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "LAO")}
MIN_FACES = 5  # a class has at least this many images, one per face
LOOKALIKE = 0.94  # of letters more alike than this in any two clean drawings one is a class
MAX_SHIFT = 4.0  # pixels by which the corners of a picture move
MAX_FADE = 0.5  # part of its brightness that the ink can lose
NOISE = 10.0  # standard deviation of the pixels, in grey levels of 255


def draw() -> Arrays:
    """``letters`` (C,) str; ``images`` (n, 32, 32), ``labels``, ``faces`` and ``test`` (n,).

    Labels index ``letters``, faces index ``fonts.FACES``; ``test`` is True in the test split.
    """
    alphabet, drawings, labels, faces = clean_drawings()
    # The training letters come first: of look-alikes in both splits the training one stays.
    kept = lookalikes.distinct(drawings, labels, LOOKALIKE)
    rows = np.isin(labels, kept)
    letters = np.array(alphabet)[kept]
    labels = np.searchsorted(kept, labels[rows])
    faces = faces[rows]
    images = [
        # Seeded by what the picture shows and not by its place in the data set: another letter
        # more or less leaves it as it is.
        rendering.distorted(
            drawing,
            np.random.default_rng([ord(letters[label]), face]),
            max_shift=MAX_SHIFT,
            max_fade=MAX_FADE,
            noise=NOISE,
        )
        for drawing, label, face in zip(drawings[rows], labels, faces, strict=True)
    ]
    in_test = np.array([fonts.script(letter) in SCRIPTS["test"] for letter in letters])
    return {
        "letters": letters,
        "images": np.stack(images),
        "labels": labels,
        "faces": faces,
        "test": in_test[labels],
    }


def clean_drawings() -> tuple[list[str], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The letters of all scripts (C,), and of each drawing (n, 48, 48) its letter and face (n,)."""
    pens = [rendering.pen(path) for path in fonts.paths()]
    alphabet: list[str] = []
    drawings: list[rendering.Picture] = []
    labels: list[int] = []
    faces: list[int] = []
    candidates = fonts.letters(SCRIPTS["train"] + SCRIPTS["test"], MIN_FACES)
    for letter, having in tqdm(candidates.items(), "drawing glyphs", leave=False):
        drawn = {face: rendering.clean(pens[face], letter) for face in having}
        inked = {face: drawing for face, drawing in drawn.items() if drawing is not None}
        if len(inked) >= MIN_FACES:
            drawings += inked.values()
            faces += inked.keys()
            labels += [len(alphabet)] * len(inked)
            alphabet.append(letter)
    return alphabet, np.stack(drawings), np.array(labels, np.int64), np.array(faces, np.int64)


def recipe() -> str:
    """Everything that ``draw`` depends on: arrays made by another recipe are out of date."""
    code: list[Any] = [__file__, fonts.__file__, lookalikes.__file__, rendering.__file__]
    files = [Path(file) for file in code] + fonts.paths()
    return json.dumps(
        {
            "numpy": np.__version__,
            "pillow": optional("PIL", "glyphs").__version__,
            "freetype": optional("PIL.features", "glyphs").version("freetype2"),
            "unicode": unicodedata.unidata_version,
            **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        }
    )
