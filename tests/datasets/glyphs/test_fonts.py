from pml_gpw.datasets.glyphs import construction, fonts


def test_candidates_are_letters_of_the_scripts_in_their_order(renderings):
    candidates = renderings[0]
    scripts = [*construction.SCRIPTS["train"], *construction.SCRIPTS["test"]]
    ranks = [scripts.index(fonts.script(letter)) for letter in candidates]
    assert ranks == sorted(ranks)
    assert len(set(candidates)) == len(candidates)
    assert not set(candidates) & set("0123456789.,;!?-+=<>☺█ͺₒ\u0301 ")
