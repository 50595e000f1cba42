import numpy as np
import PIL
import pytest

from pml_gpw.datasets.glyphs import construction, fonts, lookalikes


def test_no_two_classes_look_alike(train, test, renderings):
    """Not within a split, not across, not between two faces: all pairs of renderings."""
    candidates, images, labels, _ = renderings
    classes = {*train.classes.values(), *test.classes.values()}
    kept = np.array([letter in classes for letter in candidates])[labels]
    vectors, labels = lookalikes.unit_vectors(images[kept]), labels[kept]
    assert len(labels) == len(train) + len(test)
    for rows in np.array_split(np.arange(len(labels)), 10):
        alike = vectors[rows] @ vectors.T
        alike[labels[rows, None] == labels] = 0
        assert alike.max() < construction.MAX_SIMILARITY - 1e-5  # not by rounding


@pytest.mark.parametrize("group", ["AΑАᴀ", "OoΟοОоօ", "HНΗ", "XxΧхХ", "KΚКĸᴋ", "Ss"])
def test_of_look_alikes_one_is_a_class(train, test, group):
    assert [letter for letter in group if letter in train.characters] == [group[0]]
    assert not set(group) & set(test.characters)


def test_the_cache_key_has_the_versions(monkeypatch):
    current = construction.cache_key()
    assert current == construction.cache_key()
    for module in (np, PIL):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0.0")
            assert construction.cache_key() != current


def test_every_letter_left_out_resembles_one_kept_before_it(renderings, train, test):
    """And not by so little that rounding could decide otherwise on another machine."""
    candidates, images, labels, _ = renderings
    vectors = lookalikes.unit_vectors(images)
    classes = {*train.classes.values(), *test.classes.values()}
    kept = np.array([letter in classes for letter in candidates])[labels]
    nearest = np.zeros(len(candidates))
    for rows in np.array_split(np.flatnonzero(~kept), 10):
        alike = vectors[rows] @ vectors[kept].T
        alike[labels[rows, None] < labels[kept]] = 0
        np.maximum.at(nearest, labels[rows], alike.max(axis=1))
    left_out = np.unique(labels[~kept])
    assert len(left_out) > 500
    assert nearest[left_out].min() > construction.MAX_SIMILARITY + 1e-5


def test_candidates_are_letters_of_the_scripts_in_their_order(renderings):
    candidates = renderings[0]
    scripts = [*construction.SCRIPTS["train"], *construction.SCRIPTS["test"]]
    ranks = [scripts.index(fonts.script(letter)) for letter in candidates]
    assert ranks == sorted(ranks)
    assert len(set(candidates)) == len(candidates)
    assert not set(candidates) & set("0123456789.,;!?-+=<>☺█ͺₒ\u0301 ")
