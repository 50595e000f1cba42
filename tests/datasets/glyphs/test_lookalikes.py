import numpy as np
import pytest

from pml_gpw.datasets.glyphs import drawing, fonts, lookalikes


def blot(*pixels):
    picture = np.zeros((6, 6), np.uint8)
    for row, column in pixels:
        picture[3 * row : 3 * row + 3, 3 * column : 3 * column + 3] = 200
    return picture


LEFT, BOTH, RIGHT = blot((0, 0)), blot((0, 0), (0, 1)), blot((0, 1))


def test_similarity_by_hand():
    prints = lookalikes.fingerprints(np.stack([LEFT, BOTH, RIGHT]))
    expected = [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0.5**0.5], [0, 0.5**0.5, 1]]
    np.testing.assert_allclose(prints @ prints.T, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("drawings", "letters", "threshold", "kept"),
    [
        ([LEFT, BOTH, RIGHT], [0, 1, 2], 0.8, [0, 1, 2]),
        # 1 is too like 0; 2 is like 1 only, and 1 is no longer there.
        ([LEFT, BOTH, RIGHT], [0, 1, 2], 0.7, [0, 2]),
        ([LEFT, LEFT, RIGHT], [3, 4, 7], 0.9, [3, 7]),
        # One drawing of one face is enough, whichever face it is.
        ([LEFT, BOTH, RIGHT, BOTH], [0, 0, 1, 1], 0.9, [0]),
    ],
)
def test_which_are_kept(drawings, letters, threshold, kept):
    found = lookalikes.distinct(np.stack(drawings), np.array(letters), threshold)
    assert found == kept


def test_letters_that_are_one_shape_are_alike_and_others_are_not(drawings):
    """The threshold separates what a reader would: a control in both directions."""
    alphabet, pictures, labels, _ = drawings

    def alike(one, other):
        first, second = (
            lookalikes.fingerprints(pictures[labels == alphabet.index(letter)])
            for letter in (one, other)
        )
        return float((first @ second.T).max())

    same = ["AΑ", "AА", "ΑА", "Oo", "oо", "HН", "Xx", "Vᴠ", "KК", "ÄӒ"]
    different = ["AB", "EX", "OQ", "ДЛ", "ЦЩ", "ПЛ", "nm", "éñ", "ΨΦ", "დლ"]
    assert {pair: alike(*pair) > drawing.LOOKALIKE for pair in same} == dict.fromkeys(same, True)
    assert {pair: alike(*pair) > drawing.LOOKALIKE for pair in different} == dict.fromkeys(
        different, False
    )


def test_every_letter_left_out_resembles_one_kept_before_it(drawings, train, test):
    """And not by so little that rounding could decide otherwise on another machine."""
    alphabet, pictures, labels, _ = drawings
    prints = lookalikes.fingerprints(pictures)
    classes = {*train.classes.values(), *test.classes.values()}
    kept = np.array([letter in classes for letter in alphabet])[labels]
    nearest = np.zeros(len(alphabet))
    for rows in np.array_split(np.flatnonzero(~kept), 10):
        alike = prints[rows] @ prints[kept].T
        alike[labels[rows, None] < labels[kept]] = 0
        np.maximum.at(nearest, labels[rows], alike.max(axis=1))
    left_out = np.unique(labels[~kept])
    assert len(left_out) > 500
    assert nearest[left_out].min() > drawing.LOOKALIKE + 1e-5


def test_candidates_are_letters_of_the_scripts_in_their_order(drawings):
    alphabet = drawings[0]
    scripts = [*drawing.SCRIPTS["train"], *drawing.SCRIPTS["test"]]
    ranks = [scripts.index(fonts.script(letter)) for letter in alphabet]
    assert ranks == sorted(ranks)
    assert len(set(alphabet)) == len(alphabet)
    assert not set(alphabet) & set("0123456789.,;!?-+=<>☺█ͺₒ\u0301 ")
