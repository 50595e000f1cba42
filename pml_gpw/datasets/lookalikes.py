"""Letters that look alike, by measurement: A, Α and А are one drawing with three names.

As three classes they would be labels that contradict the pictures, so one of them stays.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 3  # clean pixels averaged in each direction: forgives differences of a hair's width


def similarity(
    drawings: NDArray[np.uint8], letters: NDArray[np.intp], faces: NDArray[np.intp]
) -> NDArray[np.float32]:
    """How alike the letters are: (C, C), 1 = the same drawing, 0 = no ink in common.

    ``drawings`` (n, s, s) are clean drawings of letter ``letters`` (n,), 0 ... C-1, in face
    ``faces`` (n,). Two letters are as alike as their cosine similarity in the face where they
    are most alike, after averaging blocks of 3x3 pixels; 0 when they share no face.
    """
    n, side, _ = drawings.shape
    blocks = drawings.reshape(n, side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    vectors = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count = int(letters.max()) + 1
    alike = np.zeros((count, count), np.float32)
    for face in np.unique(faces):
        rows = np.flatnonzero(faces == face)
        pairs = np.ix_(letters[rows], letters[rows])
        alike[pairs] = np.maximum(alike[pairs], vectors[rows] @ vectors[rows].T)
    return alike


def distinct(alike: NDArray[np.float32], threshold: float) -> list[int]:
    """The letters to keep, in order: each unless it is too like one kept before it.

    No two of the letters kept have a similarity above ``threshold``, and every letter left out
    has one kept that it resembles. (Whole groups of look-alikes would chain: ạ ~ a ~ ä ~ ã ...)
    """
    kept: list[int] = []
    for letter in range(len(alike)):
        if not (alike[letter, kept] > threshold).any():
            kept.append(letter)
    return kept
