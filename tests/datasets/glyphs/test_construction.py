import numpy as np
import PIL

from pml_gpw.datasets.glyphs import construction, fonts, lookalikes


def test_the_cache_key_has_the_versions(monkeypatch):
    current = construction.cache_key()
    assert current == construction.cache_key()
    for module in (np, PIL):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__version__", "0.0")
            assert construction.cache_key() != current


def test_letters_are_left_out_that_resemble_one_kept_before_them_by_a_loop(renderings, train, test):
    """And neither by so little that rounding could decide otherwise on another machine."""
    candidates, images, labels, _ = renderings
    vectors, kept, letters = lookalikes.unit_vectors(images), np.zeros(len(labels), bool), []
    for label, letter in enumerate(candidates):
        own = labels == label
        alike = (vectors[own] @ vectors[kept].T).max(initial=0)
        assert abs(alike - construction.MAX_SIMILARITY) > 1e-5
        if alike < construction.MAX_SIMILARITY:
            kept |= own
            letters.append(letter)
    assert letters == [*train.classes.values(), *test.classes.values()]
    assert len(candidates) - len(letters) > 500


def test_candidates_are_letters_of_the_scripts_in_their_order(renderings):
    candidates = renderings[0]
    scripts = [*construction.SCRIPTS["train"], *construction.SCRIPTS["test"]]
    ranks = [scripts.index(fonts.script(letter)) for letter in candidates]
    assert ranks == sorted(ranks)
    assert len(set(candidates)) == len(candidates)
    assert not set(candidates) & set("0123456789.,;!?-+=<>☺█ͺₒ\u0301 ")
