import re

import pytest
import torch

from pml_gpw.engine import IndexPairs
from pml_gpw.engine.arguments import find_self_index
from pml_gpw.engine.label_pairs import label_masks

from . import oracles


@pytest.mark.parametrize("labels", [[0, 0, 1], [5], [2, 2, 2, 2], [0, 1, 2], [-3, 2**40, -3]])
def test_label_masks(labels):
    labels = torch.tensor(labels)
    for actual, expected in zip(
        label_masks(labels, labels, torch.arange(len(labels))),
        oracles.pairs_of(labels),
        strict=True,
    ):
        assert actual.equal(expected)
    others = labels.flip(0)
    for actual, expected in zip(
        label_masks(labels, others), oracles.pairs_of(labels, others), strict=True
    ):
        assert actual.equal(expected)


def test_tuple_masks_of_pairs_and_triplets():
    a, p, n = torch.tensor([0, 0, 2]), torch.tensor([1, 1, 3]), torch.tensor([2, 3, 0])
    for indices_tuple in ((a, p, n), (a, p, a, n)):
        pos, neg = IndexPairs.of(indices_tuple, (3, 4)).masks(slice(0, 3))
        assert pos.nonzero().tolist() == [[0, 1], [2, 3]]
        assert neg.nonzero().tolist() == [[0, 2], [0, 3], [2, 0]]


def test_anchors_among_the_references():
    x = torch.randn(3, 2)
    for twin in (x, x.clone().detach()):
        assert find_self_index(x, twin).tolist() == [0, 1, 2]
    assert find_self_index(x, x.flip(0)).tolist() == [-1] * 3
    assert find_self_index(x, x[:2]) is None


LONG = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("indices_tuple", "message"),
    [
        ((LONG, LONG), "got 2 tensors"),
        ((LONG, LONG[:1], LONG, LONG), "2 anchors and 1 positives"),
        ((LONG, LONG, LONG, LONG + 2), r"negative indices in \[0, 3\), got 2 to 3"),
        ((LONG - 1, LONG, LONG, LONG), r"anchor indices in \[0, 3\), got -1 to 0"),
        ((LONG, LONG, LONG, LONG), "both positive and negative"),
        ((LONG / 2, LONG, LONG), "tensors of integers, got torch.float32"),
        (([0, 1], LONG, LONG), "tensors of integers, got list"),
    ],
)
def test_bad_tuples(indices_tuple, message):
    with pytest.raises(ValueError, match="indices_tuple") as error:
        IndexPairs.of(indices_tuple, (3, 3))
    assert re.search(message, str(error.value))
