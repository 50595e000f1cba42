import zlib

import torch

from pml_gpw.backbones import backbone, character_ngrams


def test_ngrams_of_a_short_text_by_hand():
    grams = ["o", "b", " o", "ob", "b "]
    expected = [1 + zlib.crc32(gram.encode()) % 16383 for gram in grams]
    assert character_ngrams("Ob").tolist() == character_ngrams("OB").tolist()
    assert character_ngrams("Ob").tolist() == expected + [0] * 59
    assert (character_ngrams("x" * 500) > 0).tolist() == [True] * 64


def test_features_are_the_mean_over_the_ngrams_that_are_there():
    model = backbone("ngram_bag", pooling="own")
    texts = ["Ob", "Ärger im Büro", ""]
    found = model(torch.stack([character_ngrams(text) for text in texts]))
    assert found.shape == (3, model.features) == (3, 64)
    table = model.network[0].weight
    for text, row in zip(texts, found, strict=True):
        indices = character_ngrams(text)
        torch.testing.assert_close(row, table[indices[indices > 0]].mean(dim=0))
    found.sum().backward()
    assert table.grad[0].abs().sum() == 0
    assert (table.grad[character_ngrams("Ob")[:5]].abs().sum(dim=1) > 0).all()
