"""The network for short texts: its n-grams by hand."""

import zlib

import torch

from pml_gpw.backbones import backbone, character_ngrams


def test_ngrams_of_a_short_text_by_hand():
    grams = ["o", "b", " o", "ob", "b "]
    expected = [1 + zlib.crc32(gram.encode()) % 16383 for gram in grams]
    found = character_ngrams("Ob")
    assert found.tolist() == expected + [0] * 59
    assert torch.equal(found, character_ngrams("OB")), "case makes no difference"
    assert character_ngrams("x" * 500).shape == (64,)
    assert (character_ngrams("x" * 500) > 0).all()


def test_features_are_the_mean_over_the_ngrams_that_are_there():
    torch.manual_seed(0)
    model = backbone("ngram_bag", pooling="own")
    texts = ["Ob", "Ärger im Büro", ""]
    found = model(torch.stack([character_ngrams(text) for text in texts]))
    assert found.shape == (3, model.features) == (3, 64)
    table = model.network[0].weight
    for text, row in zip(texts, found, strict=True):
        indices = character_ngrams(text)
        torch.testing.assert_close(row, table[indices[indices > 0]].mean(dim=0))


def test_ngrams_that_fill_up_are_not_trained():
    model = backbone("ngram_bag", pooling="own")
    model(character_ngrams("Ob")[None]).sum().backward()
    grad = model.network[0].weight.grad
    assert grad[0].abs().sum() == 0
    assert (grad[character_ngrams("Ob")[:5]].abs().sum(dim=1) > 0).all()


def test_weights_from_a_file(tmp_path):
    one = backbone("ngram_bag", pooling="own")
    torch.save(one.network.state_dict(), tmp_path / "weights.pth")
    other = backbone("ngram_bag", pooling="own", weights=tmp_path / "weights.pth")
    ngrams = character_ngrams("Ob")[None]
    assert torch.equal(one(ngrams), other(ngrams))
