import pytest
from pytorch_metric_learning import losses

from pml_gpw import MSMiner
from pml_gpw.analysis import pair_weights


def test_frame(sixteen):
    x, labels = sixteen
    table = pair_weights(losses.ContrastiveLoss(), x, labels, MSMiner())
    frame = table.to_frame()
    assert list(frame) == ["anchor", "other", "relation", "similarity", "weight", "mined"]
    assert len(frame) == 16 * 15
    assert (frame["anchor"] != frame["other"]).all()
    row = frame.iloc[37]
    i, j = row["anchor"], row["other"]
    assert row["relation"] == ("positive" if labels[i] == labels[j] else "negative")
    assert row["weight"] == table.weights[i, j]
    assert row["similarity"] == table.similarity[i, j]
    assert row["mined"] == table.mined[i, j]
    assert frame["weight"].sum() == pytest.approx(table.summary()["total"])
