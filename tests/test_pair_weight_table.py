"""The figures of a summary, where they are known."""

import math
import sys

import pytest
import torch

from pml_gpw.functional import pair_weights
from pml_gpw.mining import MSMining
from pml_gpw.pair_weight_table import summarize
from pml_gpw.weightings import Triplet


def test_summary_of_known_weights():
    similarity = torch.arange(100.0).view(10, 10) / 100
    neg = torch.ones(10, 10).bool()
    pos = torch.zeros_like(neg)
    equal = summarize(similarity, torch.full((10, 10), 3.0), pos, neg)
    shares = [equal[name] for name in ("effective_pairs", "hardest_1", "hardest_10")]
    assert shares == pytest.approx([100, 0.01, 0.1])
    assert (equal["zero_share"], equal["positive_share"], equal["total"]) == (0, 0, 300)
    one = torch.zeros(10, 10)
    one[9, 9] = 2.0  # the hardest negative
    alone = summarize(similarity, one, pos, neg)
    assert (alone["effective_pairs"], alone["hardest_1"]) == (1, 1)
    assert alone["zero_share"] == pytest.approx(0.99)
    assert summarize(similarity, one, neg, pos)["hardest_10"] == 0  # the easiest positive
    one[0, 0], pos[0, 0], neg[0, 0] = 2.0, True, False
    mixed = summarize(similarity, one, pos, neg)
    assert (mixed["positive_share"], mixed["effective_pairs"]) == (0.5, pytest.approx(2))
    nothing = summarize(similarity, torch.zeros(10, 10), pos, neg)
    assert math.isnan(nothing["effective_pairs"])
    assert nothing["total"] == 0


def test_frame():
    x, labels = torch.randn(16, 6, dtype=torch.float64), torch.arange(16) // 4
    table = pair_weights(x, labels, Triplet(), MSMining())
    frame = table.to_frame()
    assert list(frame) == ["anchor", "other", "relation", "similarity", "weight", "mined"]
    assert len(frame) == 16 * 15
    assert (frame["anchor"] != frame["other"]).all()
    i, j, relation, *values = frame.iloc[37]
    assert relation == ("positive" if labels[i] == labels[j] else "negative")
    assert values == [table.similarity[i, j], table.weights[i, j], table.mined[i, j]]
    assert frame["weight"].sum() == pytest.approx(table.summary()["total"])


def test_a_frame_without_pandas(monkeypatch):
    table = pair_weights(torch.eye(4), torch.arange(4) // 2, Triplet())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pandas is needed .* "pml-gpw\[notebooks\]"'):
        table.to_frame()
