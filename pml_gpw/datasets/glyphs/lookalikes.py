"""Letters that look alike, by measurement: A, Α and А are one drawing with three names.

As three classes they would be labels that contradict the pictures, so one of them stays.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 3  # clean pixels averaged in each direction: forgives differences of a hair's width
LETTERS_AT_A_TIME = 64  # few large matrix products instead of many small ones


def fingerprints(drawings: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors (n, (s / 3)²) whose dot product is how alike two clean drawings (n, s, s) are.

    It is the cosine similarity of the drawings after averaging blocks of 3x3 pixels: 1 for the
    same drawing, 0 for two without ink in common.
    """
    n, side, _ = drawings.shape
    blocks = drawings.reshape(n, side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    vectors = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def distinct(
    drawings: NDArray[np.uint8], letters: NDArray[np.int64], threshold: float
) -> list[int]:
    """The letters to keep, ascending: each unless it is too like one kept before it.

    ``drawings`` (n, s, s) are those of ``letters`` (n,). Two letters are as alike as the two most
    similar of their drawings, in whatever faces. No two of the letters kept are more alike than
    ``threshold``, and every letter left out is more like one of them than that.
    (Merging groups instead would chain letters that differ: ạ ~ a ~ ä ~ ã ...)
    """
    prints, names = fingerprints(drawings), np.unique(letters)
    kept = np.zeros(names[-1] + 1, bool)
    for start in range(0, len(names), LETTERS_AT_A_TIME):
        batch = names[start : start + LETTERS_AT_A_TIME]
        in_batch = np.isin(letters, batch)
        before = np.flatnonzero(kept[letters] | in_batch)
        alike = prints[in_batch] @ prints[before].T > threshold
        for letter in batch:
            drawn = alike[letters[in_batch] == letter]
            kept[letter] = not drawn[:, kept[letters[before]]].any()
    return np.flatnonzero(kept).tolist()
