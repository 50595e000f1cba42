"""Recall@K equals the oracle exactly, for every back end, kind of similarity and kind of tie."""

import numpy as np
import pytest
import torch
from hypothesis import given

from pml_gpw.evaluation import ranks, recall_at_k

from . import oracle
from .tasks import METRICS, assert_same, quiet_recall, tied_tasks


@given(tied_tasks())
def test_ties_are_decided_by_index(task):
    arguments, ks, metric = task
    wanted = oracle.recall_at_k(*arguments, ks=ks, metric=metric)
    for name in ("torch", "faiss"):
        assert_same(quiet_recall(*arguments, ks=ks, metric=metric, backend=name), wanted)


@pytest.mark.parametrize("shortest", [False, True], ids=["usual lists", "shortest lists"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_embeddings(metric, gallery, dtype, shortest, backend, monkeypatch):
    if shortest:
        monkeypatch.setattr(ranks, "list_length", lambda largest_k: largest_k)
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(60, 3, generator=generator, dtype=dtype) + 0.3
    labels = torch.randint(12, (60,), generator=generator)
    arguments = (query[:20], labels[:20], query[20:], labels[20:]) if gallery else (query, labels)
    ks = (1, 3, 10, 39)
    got = quiet_recall(*arguments, ks=ks, metric=metric, backend=backend)
    assert_same(got, oracle.recall_at_k(*arguments, ks=ks, metric=metric))
    assert 0 < got[1] < got[39] <= 1


def test_value_by_hand(backend):
    query = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    labels = torch.tensor([0, 1, 0, 1])
    # Neighbours of 0: 1, 3, 7. Of 1: 0, 3, 7. Of 3: 1, 0, 7. Of 7: 3, 1, 0.
    got = recall_at_k(query, labels, ks=(1, 2, 3), metric="l2", backend=backend)
    assert got == {1: 0.0, 2: 0.75, 3: 1.0}


@pytest.mark.parametrize("metric", METRICS)
def test_collapsed_embeddings(metric, backend):
    labels = torch.arange(50) // 5
    query = torch.full((50, 7), 0.1)
    got = quiet_recall(query, labels, ks=(1, 5, 30), metric=metric, backend=backend)
    assert_same(got, oracle.recall_at_k(query, labels, ks=(1, 5, 30), metric=metric))


def test_duplicate_that_hides_the_own_row(backend):
    """Leaving out the nearest instead of the own row would count a query as its own hit."""
    query = torch.ones(40, 2)
    labels = torch.arange(40)
    labels[39] = 38
    got = quiet_recall(query, labels, ks=(1, 38, 39), backend=backend)
    assert got == {1: 0.0, 38: 0.0, 39: 1.0}


def test_own_row_counts_in_a_gallery(backend):
    query, labels = torch.randn(8, 3), torch.arange(8)
    assert recall_at_k(query, labels, query.clone(), labels, ks=(1,), backend=backend) == {1: 1.0}


def test_labels_beyond_float32(backend):
    big = 2**24
    labels = torch.tensor([big, big + 1, big, big + 1])
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert recall_at_k(query, labels, ks=(1, 3), backend=backend) == {1: 0.0, 3: 1.0}


def test_arrays_tensors_and_gradients_are_alike(backend):
    generator = torch.Generator().manual_seed(6)
    query = torch.randn(12, 4, generator=generator, requires_grad=True)
    labels = torch.arange(12) // 3
    array = query.detach().numpy()
    wanted = recall_at_k(query, labels, backend=backend)
    frozen = array.copy()
    frozen.flags.writeable = False
    for form in (array, frozen, array[::-1][::-1], array.astype(np.float64)):
        assert recall_at_k(form, labels.numpy().astype(np.int32), backend=backend) == wanted
    assert recall_at_k(query, labels.double(), backend=backend) == wanted
    assert query.grad is None


def test_inputs_are_left_as_they_are(backend):
    query, labels = torch.randn(12, 4), torch.arange(12) // 3
    before = query.clone(), labels.clone()
    recall_at_k(query, labels, query, labels, backend=backend, metric="l2")
    assert torch.equal(query, before[0])
    assert torch.equal(labels, before[1])
