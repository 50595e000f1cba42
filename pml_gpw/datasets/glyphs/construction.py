"""The arrays of Glyphs, both splits: letters are rendered, look-alikes left out, images distorted.

Shapes: n renderings or images, C classes.
"""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...optional import import_optional, progress
from . import fonts, lookalikes, rendering
from .cache import Arrays

SCRIPTS = {"train": ("LATIN",), "test": ("GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "LAO")}
MIN_FACES = 5  # a class has at least this many images, one per font face
MAX_SIMILARITY = 0.94  # of letters more similar than this in any two renderings, one is a class
MAX_SHIFT = 4.0  # pixels by which the corners of an image move
MAX_FADE = 0.5  # fraction of its brightness that the ink can lose
NOISE = 10.0  # standard deviation of the pixel noise, in gray levels of 255


def build_arrays() -> Arrays:
    """Return ``letters`` (C,) str; ``images`` (n, 32, 32), ``labels``, ``faces``, ``test`` (n,).

    Labels index ``letters``, faces index ``fonts.FACES``; ``test`` is True in the test split.
    """
    candidates, renderings, labels, faces = render_candidates()
    # The training letters come first: of look-alikes in both splits the training one stays.
    selected = lookalikes.select_distinct(renderings, labels, MAX_SIMILARITY)
    in_selection = np.isin(labels, selected)
    letters = np.array(candidates)[selected]
    labels = np.searchsorted(selected, labels[in_selection])
    faces = faces[in_selection]
    images = [
        # The seed is what the image shows and not its index in the data set, so that another
        # letter more or less does not change it.
        rendering.distort(
            image,
            np.random.default_rng([ord(letters[label]), face]),
            max_shift=MAX_SHIFT,
            max_fade=MAX_FADE,
            noise=NOISE,
        )
        for image, label, face in zip(renderings[in_selection], labels, faces, strict=True)
    ]
    in_test = np.array([fonts.script(letter) in SCRIPTS["test"] for letter in letters])
    return {
        "letters": letters,
        "images": np.stack(images),
        "labels": labels,
        "faces": faces,
        "test": in_test[labels],
    }


def render_candidates() -> tuple[
    list[str], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]
]:
    """Return the letters of all scripts (C,), and renderings (n, 48, 48), letters, faces (n,)."""
    loaded = [rendering.load_font(path) for path in fonts.font_files()]
    candidates: list[str] = []
    renderings: list[rendering.GrayscaleImage] = []
    labels: list[int] = []
    faces: list[int] = []
    faces_of_letters = fonts.faces_of_letters(SCRIPTS["train"] + SCRIPTS["test"], MIN_FACES)
    for letter, letter_faces in progress(faces_of_letters.items(), "rendering glyphs"):
        images = {face: rendering.render_letter(loaded[face], letter) for face in letter_faces}
        with_ink = {face: image for face, image in images.items() if image is not None}
        if len(with_ink) >= MIN_FACES:
            renderings += with_ink.values()
            faces += with_ink.keys()
            labels += [len(candidates)] * len(with_ink)
            candidates.append(letter)
    return candidates, np.stack(renderings), np.array(labels, np.int64), np.array(faces, np.int64)


def cache_key() -> str:
    """Return all that ``build_arrays`` depends on: arrays of another key are out of date."""
    code: list[Any] = [__file__, fonts.__file__, lookalikes.__file__, rendering.__file__]
    files = [Path(file) for file in code] + fonts.font_files()
    return json.dumps(
        {
            "numpy": np.__version__,
            "pillow": import_optional("PIL", "glyphs").__version__,
            "freetype": import_optional("PIL.features", "glyphs").version("freetype2"),
            "unicode": unicodedata.unidata_version,
            **{file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        }
    )
