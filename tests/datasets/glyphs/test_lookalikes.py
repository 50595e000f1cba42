import numpy as np
import pytest

from pml_gpw.datasets.glyphs import construction, lookalikes


def blot(*pixels):
    picture = np.zeros((6, 6), np.uint8)
    for row, column in pixels:
        picture[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 200
    return picture


LEFT, BOTH, RIGHT = blot((0, 0)), blot((0, 0), (0, 1)), blot((0, 1))


def test_similarity_by_hand():
    vectors = lookalikes.unit_vectors(np.stack([LEFT, BOTH, RIGHT]))
    expected = [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0.5**0.5], [0, 0.5**0.5, 1]]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("renderings", "letters", "threshold", "selected"),
    [
        ([LEFT, BOTH, RIGHT], [0, 1, 2], 0.8, [0, 1, 2]),
        # 1 is too like 0; 2 is like 1 only, and 1 is no longer there.
        ([LEFT, BOTH, RIGHT], [0, 1, 2], 0.7, [0, 2]),
        ([LEFT, LEFT, RIGHT], [3, 4, 7], 0.9, [3, 7]),
        # One rendering in one face is enough, whichever face it is.
        ([LEFT, BOTH, RIGHT, BOTH], [0, 0, 1, 1], 0.9, [0]),
    ],
)
def test_which_are_selected(renderings, letters, threshold, selected):
    found = lookalikes.select_distinct(np.stack(renderings), np.array(letters), threshold)
    assert found == selected


def test_letters_that_are_one_shape_are_alike_and_others_are_not(renderings):
    """The threshold separates what a reader would: a control in both directions."""
    candidates, images, labels, _ = renderings

    def alike(one, other):
        first, second = (
            lookalikes.unit_vectors(images[labels == candidates.index(letter)])
            for letter in (one, other)
        )
        return float((first @ second.T).max())

    same = ["AΑ", "AА", "ΑА", "Oo", "oо", "HН", "Xx", "Vᴠ", "KК", "ÄӒ"]
    different = ["AB", "EX", "OQ", "ДЛ", "ЦЩ", "ПЛ", "nm", "éñ", "ΨΦ", "დლ"]
    for pairs, expected in ((same, True), (different, False)):
        found = {pair: alike(*pair) > construction.MAX_SIMILARITY for pair in pairs}
        assert found == dict.fromkeys(pairs, expected)
