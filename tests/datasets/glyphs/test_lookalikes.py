import numpy as np

from pml_gpw.datasets.glyphs import construction, lookalikes


def test_similarity_by_hand():
    pictures = np.zeros((3, 6, 6), np.uint8)
    pictures[:2, :3, :3] = pictures[1:, :3, 3:] = 200
    vectors = lookalikes.unit_vectors(pictures)
    expected = [[1, 0.5**0.5, 0], [0.5**0.5, 1, 0.5**0.5], [0, 0.5**0.5, 1]]
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-6)


def test_letters_that_are_one_shape_are_alike_and_others_are_not(renderings):
    candidates, images, labels, _ = renderings

    def alike(one, other):
        chosen = (images[labels == candidates.index(letter)] for letter in (one, other))
        first, second = map(lookalikes.unit_vectors, chosen)
        return float((first @ second.T).max())

    same = ["AΑ", "AА", "ΑА", "Oo", "oо", "HН", "Xx", "Vᴠ", "KК", "ÄӒ"]
    different = ["AB", "EX", "OQ", "ДЛ", "ЦЩ", "ПЛ", "nm", "éñ", "ΨΦ", "დლ"]
    for pairs, expected in ((same, True), (different, False)):
        found = {pair: alike(*pair) > construction.MAX_SIMILARITY for pair in pairs}
        assert found == dict.fromkeys(pairs, expected)
