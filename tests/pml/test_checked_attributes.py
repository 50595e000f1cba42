"""Attributes are checked when they are set, and objects when they are made."""

import copy

import pytest

from pml_gpw import GPWLoss, MSLoss, MSMiner
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.weightings import MultiSimilarity


@pytest.mark.parametrize("make", [MSLoss, MSMiner, lambda: GPWLoss(MultiSimilarity())])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("chunk_size", -3, "chunk_size must be an integer > 0, got -3"),
        ("chunk_size", 2.5, "chunk_size must be an integer > 0, got 2.5"),
        ("chunk_size", True, "chunk_size must be an integer > 0, got True"),
        (
            "layout",
            "fast",
            "layout must be one of auto, dense, sparse rows, sparse batch, got 'fast'",
        ),
    ],
)
def test_setting(make, name, value, message):
    module = make()
    before = getattr(module, name)
    with pytest.raises(ValueError, match=message):
        setattr(module, name, value)
    assert getattr(module, name) == before


def test_values_are_those_of_one_object():
    one, other = MSLoss(chunk_size=7), MSLoss()
    assert (one.chunk_size, other.chunk_size, other.layout) == (7, None, "auto")
    assert copy.deepcopy(one).chunk_size == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossBatchMemory(MSLoss(), 4, miner="ms"), "miner must be an object that can be"),
        (lambda: MSLoss(chunk_size=0), "chunk_size must be an integer > 0, got 0"),
    ],
)
def test_making(make, message):
    with pytest.raises(ValueError, match=message):
        make()
