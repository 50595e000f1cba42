import re

import pytest
import torch

from pml_gpw import MSWeightedLoss
from pml_gpw.engine import IndexPairs, LabelPairs, PairBatch
from pml_gpw.weightings.pair_rows import RowContext

from .batches import clusters


def test_tuple_masks_of_pairs_and_triplets():
    a, p, n = torch.tensor([0, 0, 2]), torch.tensor([1, 1, 3]), torch.tensor([2, 3, 0])
    for indices_tuple in ((a, p, n), (a, p, a, n)):
        pos, neg = IndexPairs.of(indices_tuple, (3, 4)).masks(slice(0, 3))
        assert pos.nonzero().tolist() == [[0, 1], [2, 3]]
        assert neg.nonzero().tolist() == [[0, 2], [0, 3], [2, 0]]


def test_all_pairs_of_more_anchors_than_references():
    pairs = LabelPairs(torch.tensor([0, 1, 1]), torch.tensor([0, 1]))
    a1, p, a2, n = pairs.index_tuple()
    assert [*zip(a1.tolist(), p.tolist(), strict=True)] == [(0, 0), (1, 1), (2, 1)]
    assert [*zip(a2.tolist(), n.tolist(), strict=True)] == [(0, 1), (1, 0), (2, 0)]


def test_a_part_of_a_part_knows_its_place():
    x, labels = torch.randn(9, 3, requires_grad=True), torch.arange(9)
    batch = PairBatch(x, x, LabelPairs(labels, labels))
    assert not batch.detached().anchors.requires_grad
    part = batch.part(slice(2, 8)).part(slice(3, 5))
    assert (part.first_anchor, RowContext(5).at(slice(2, 4)).first_anchor) == (5, 7)


LONG = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("indices_tuple", "message"),
    [
        ((LONG, LONG), "got 2 tensors"),
        ((LONG, LONG[:1], LONG, LONG), "2 anchors and 1 positives"),
        ((LONG, LONG, LONG, LONG + 2), r"negative indices in \[0, 3\), got 2 to 3"),
        ((LONG - 1, LONG, LONG, LONG), r"anchor indices in \[0, 3\), got -1 to 0"),
        ((LONG, LONG, LONG, LONG), "both positive and negative"),
        (([0, 1], LONG, LONG), "tensor of integers, got list"),
    ],
)
def test_bad_tuples(indices_tuple, message):
    with pytest.raises(ValueError, match="indices_tuple") as error:
        IndexPairs.of(indices_tuple, (3, 3))
    assert re.search(message, str(error.value))


@pytest.mark.parametrize("flip", [False, True])
def test_pairs_of_large_batches_named_both_positive_and_negative(flip):
    x, labels = clusters(500, 0.3)
    one, other, many = torch.tensor([3]), torch.tensor([7]), torch.arange(100)
    pairs = (torch.cat([many, one]), torch.cat([many + 100, other]), one, other)
    with pytest.raises(ValueError, match="both positive and negative"):
        MSWeightedLoss()(x, labels, pairs[2:] + pairs[:2] if flip else pairs)
    MSWeightedLoss()(x, labels, (*pairs[:2], other, one))
