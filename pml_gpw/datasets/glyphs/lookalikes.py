"""Letters that look alike, found by measurement: A, Α and А have one shape and three names.

As three classes their labels would contradict the images, so only one of them becomes a class.
"""

import numpy as np
from numpy.typing import NDArray

POOLING_SIZE = 3  # pixels averaged in each direction, which tolerates shifts of a pixel
LETTERS_PER_PRODUCT = 64  # few large matrix products instead of many small ones


def unit_vectors(renderings: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map renderings (n, s, s) to unit vectors (n, (s / 3)²).

    The dot product of two of them is the cosine similarity of the renderings after averaging over
    blocks of 3x3 pixels: 1 for equal renderings, 0 for two without ink in common.
    """
    n, side, _ = renderings.shape
    blocks = renderings.reshape(
        n, side // POOLING_SIZE, POOLING_SIZE, side // POOLING_SIZE, POOLING_SIZE
    )
    vectors = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def select_distinct(
    renderings: NDArray[np.uint8], letters: NDArray[np.int64], threshold: float
) -> list[int]:
    """Return the letters to keep, ascending: each unless it is too similar to one kept before it.

    ``renderings`` (n, s, s) show ``letters`` (n,). The similarity of two letters is that of their
    two most similar renderings, in whatever font faces. No two selected letters are more similar
    than ``threshold``, and every letter left out is more similar than that to a selected one.
    (Merging groups instead would chain letters that differ: ạ ~ a ~ ä ~ ã ...)
    """
    vectors, unique_letters = unit_vectors(renderings), np.unique(letters)
    selected = np.zeros(unique_letters[-1] + 1, bool)
    for start in range(0, len(unique_letters), LETTERS_PER_PRODUCT):
        batch = unique_letters[start : start + LETTERS_PER_PRODUCT]
        in_batch = np.isin(letters, batch)
        columns = np.flatnonzero(selected[letters] | in_batch)
        similar = vectors[in_batch] @ vectors[columns].T > threshold
        for letter in batch:
            rows = similar[letters[in_batch] == letter]
            selected[letter] = not rows[:, selected[letters[columns]]].any()
    return np.flatnonzero(selected).tolist()
