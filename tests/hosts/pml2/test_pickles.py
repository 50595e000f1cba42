"""Pickles of 0.2, written by that release, load to objects that do the same."""

import pickle
from pathlib import Path

import pytest
import torch

from ...tolerances import close

PICKLES = pickle.loads(Path(__file__).with_name("pickles_of_0_2.pkl").read_bytes())
X, LABELS = torch.rand(8, 4, generator=torch.Generator().manual_seed(1)), torch.arange(8) // 2
CALLS = {
    "SelfSupervisedLoss": lambda loss: loss(X, X.flip(0)),
    "RecallCalculator": lambda calculator: calculator.get_accuracy(X, LABELS)["recall_at_2"],
}


@pytest.mark.parametrize("name", sorted(PICKLES))
def test_a_pickle_of_0_2(name):
    pickled, expected = PICKLES[name]
    loaded = pickle.loads(pickled)
    assert type(loaded).__name__ == name
    value = CALLS.get(name, lambda module: module(X, LABELS))(loaded)
    if isinstance(value, tuple):
        value = torch.cat(value)
    if expected is not None:
        close(value, torch.tensor(expected))
    assert type(pickle.loads(pickle.dumps(loaded))) is type(loaded)
