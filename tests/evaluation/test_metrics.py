"""Metrics equal the oracle, for every back end, kind of similarity and kind of tie."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pml_gpw.evaluation import map_at_r, r_precision, recall_at_k, retrieval_metrics

from . import oracle
from .tasks import METRICS, among_many, assert_close, close_pairs, quiet, same, tied_tasks

BACKENDS = ("torch", "faiss")


def assert_right(task, ks, metric="cosine", wanted=None):
    """The oracle's numbers by each back end, to the last digit alike; also of Recall@K alone."""
    wanted = wanted or oracle.retrieval_metrics(*task, ks=ks, metric=metric)
    options = {"ks": ks, "metric": metric}
    one, other = (quiet(retrieval_metrics, *task, backend=name, **options) for name in BACKENDS)
    assert_close(one, wanted)
    assert same(one, other)
    for name in BACKENDS:
        recalls = quiet(recall_at_k, *task, backend=name, **options)
        assert same(recalls, {k: wanted[f"recall_at_{k}"] for k in ks})
    return one


@settings(max_examples=50)
@given(tied_tasks())
def test_ties_are_decided_by_index(case):
    """Where float64 decides over all references, and where it does for single pairs."""
    task, ks, metric = case
    wanted = oracle.retrieval_metrics(*task, ks=ks, metric=metric)
    assert_right(task, ks, metric, wanted)
    if len(task) == 4:
        assert_right(among_many(*task), ks, metric, wanted)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
def test_random_embeddings(metric, gallery):
    """Classes of 1 to 30, so that most references of a small class are in no list."""
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(90, 3, generator=generator, dtype=torch.float64) + 0.3
    labels = (torch.rand(90, generator=generator) * 4).exp().long()
    for x in (query, query.float()):
        task = (x[:30], labels[:30], x[30:], labels[30:]) if gallery else (x, labels)
        got = assert_right(task, (1, 5, 39), metric)
        assert 0 < got["map_at_r"] < got["r_precision"] < 1


@pytest.mark.parametrize("metric", METRICS)
def test_collapsed_embeddings(metric):
    assert_right((torch.full((50, 7), 0.1), torch.arange(50) % 7), (1, 5, 30), metric)


def test_float64_differences_decide():
    query, labels, reference, reference_labels = close_pairs()
    for size in (1, 4):
        task = query, labels // size, reference, reference_labels // size
        wanted = oracle.retrieval_metrics(*task, ks=(1, 2, 5))
        assert 0 < wanted["recall_at_1"] < 1
        assert_right(task, (1, 2, 5), wanted=wanted)
        assert_right(among_many(*task), (1, 2, 5), wanted=wanted)
    nearest = (query.float() @ reference.float().T).argmax(dim=1)
    in_float32 = float((reference_labels[nearest] == labels).double().mean())
    assert in_float32 != oracle.retrieval_metrics(*close_pairs(), ks=(1,))["recall_at_1"]


def test_values_by_hand(backend):
    query = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    # Neighbours of 0: 1, 3, 7. Of 1: 0, 3, 7. Of 3: 1, 0, 7. Of 7: 3, 1, 0.
    options = {"metric": "l2", "backend": backend}
    got = recall_at_k(query, torch.tensor([0, 1, 0, 1]), ks=(1, 2, 3), **options)
    assert got == {1: 0.0, 2: 0.75, 3: 1.0}
    for near, r_precision_of_it, map_at_r_of_it in (
        ([0, 0, 0, 1, 1], 1.0, 1.0),
        ([0, 1, 0, 0, 1], 2 / 3, (1 + 2 / 3) / 3),
        ([1, 0, 0, 1, 0], 2 / 3, (1 / 2 + 2 / 3) / 3),
        ([1, 1, 1, 1, 0], 0.0, 0.0),
    ):
        task = torch.zeros(1, 1), torch.tensor([0]), torch.arange(5.0)[:, None], torch.tensor(near)
        got = retrieval_metrics(*task, ks=(1,), **options)
        assert got["r_precision"] == pytest.approx(r_precision_of_it, abs=1e-15)
        assert got["map_at_r"] == pytest.approx(map_at_r_of_it, abs=1e-15)


def test_the_own_row_is_left_out_and_no_other(backend):
    """Leaving out the nearest instead would count a query as its own hit among duplicates."""
    query, labels = torch.ones(40, 2), torch.arange(40)
    assert recall_at_k(query, labels, query.clone(), labels, ks=(40,), backend=backend) == {40: 1.0}
    labels[39] = 38
    got = quiet(recall_at_k, query, labels, ks=(1, 38, 39), backend=backend)
    assert got == {1: 0.0, 38: 0.0, 39: 1.0}


def test_labels_beyond_float32(backend):
    labels = torch.tensor([0, 1, 0, 1]) + 2**24
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert recall_at_k(query, labels, ks=(1, 3), backend=backend) == {1: 0.0, 3: 1.0}


def test_arrays_and_tensors_are_alike_and_left_as_they_are(backend):
    generator = torch.Generator().manual_seed(6)
    query = torch.randn(12, 4, generator=generator, requires_grad=True)
    labels = torch.arange(12) // 3
    array = query.detach().numpy().copy()
    wanted = recall_at_k(query, labels, backend=backend)
    frozen = array.copy()
    frozen.flags.writeable = False
    for form in (array, frozen, array[::-1][::-1], array.astype(np.float64)):
        assert recall_at_k(form, labels.numpy().astype(np.int32), backend=backend) == wanted
    assert recall_at_k(query, labels.double(), backend=backend) == wanted
    recall_at_k(query, labels, query, labels, backend=backend, metric="l2")
    assert query.grad is None
    assert torch.equal(query, torch.from_numpy(array))
    assert torch.equal(labels, torch.arange(12) // 3)


def test_one_search_or_three(backend):
    generator = torch.Generator().manual_seed(6)
    query, labels = torch.randn(200, 8, generator=generator), torch.arange(200) // 8
    got = retrieval_metrics(query, labels, ks=(4, 1), metric="l2", backend=backend)
    recalls = recall_at_k(query, labels, ks=(4, 1), metric="l2", backend=backend)
    assert got == {f"recall_at_{k}": value for k, value in recalls.items()} | {
        "r_precision": r_precision(query, labels, metric="l2", backend=backend),
        "map_at_r": map_at_r(query, labels, None, None, backend, "l2"),
    }
    assert [*got] == ["recall_at_4", "recall_at_1", "r_precision", "map_at_r"]


NAMED = {
    "Recall@K": lambda *task: recall_at_k(*task, ks=(1, 2)),
    "MAP@R": map_at_r,
    "R-precision": r_precision,
    "Recall@K, R-precision and MAP@R": lambda *task: retrieval_metrics(*task, ks=(1,)),
}


@pytest.mark.parametrize("name", NAMED)
def test_queries_without_a_relevant_reference_are_left_out_and_counted(name):
    """One warning, at the line of the caller; nan where none is left."""
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    for labels, said, value in (
        (torch.tensor([0, 0, 1]), f"^1 of 3 queries have .* out of {name}$", 1.0),
        (torch.arange(3), f"^3 of 3 queries .*: {name} (is|are) nan$", math.nan),
    ):
        with pytest.warns(UserWarning, match=said) as caught:
            got = NAMED[name](query, labels)
        assert [warning.filename for warning in caught] == [__file__]
        values = got.values() if isinstance(got, dict) else [got]
        assert [*values] == pytest.approx([value] * len(values), nan_ok=True)


def test_no_warning_where_all_have_a_relevant_reference(no_warnings):
    assert recall_at_k(torch.randn(6, 2), torch.arange(6) // 2, ks=(5,)) == {5: 1.0}
