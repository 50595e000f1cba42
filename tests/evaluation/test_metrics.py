"""Metrics equal the oracle exactly, for every back end, kind of similarity and kind of tie."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from pml_gpw.evaluation import (
    map_at_r,
    r_precision,
    ranking,
    recall_at_k,
    retrieval_metrics,
)

from . import oracle
from .tasks import (
    METRICS,
    assert_close,
    assert_same,
    close_pairs,
    quiet_metrics,
    quiet_recall,
    tied_tasks,
)


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
        monkeypatch.setattr(ranking, "list_length", lambda needed: needed)
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


@given(tied_tasks())
def test_ties_of_all_metrics_are_decided_by_index(task):
    arguments, ks, metric = task
    wanted = oracle.retrieval_metrics(*arguments, ks=ks, metric=metric)
    found = [
        quiet_metrics(*arguments, ks=ks, metric=metric, backend=name) for name in ("torch", "faiss")
    ]
    assert_close(found[0], wanted)
    assert_same(found[0], found[1])
    recalls = quiet_recall(*arguments, ks=ks, metric=metric)
    assert_same({k: found[0][f"recall_at_{k}"] for k in ks}, recalls)


@pytest.mark.parametrize("shortest", [False, True], ids=["usual lists", "shortest lists"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_metrics_of_random_embeddings(metric, gallery, dtype, shortest, backend, monkeypatch):
    """Classes of 1 to 30, so that most references of a small class are in no list."""
    if shortest:
        monkeypatch.setattr(ranking, "list_length", lambda needed: needed)
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(90, 3, generator=generator, dtype=dtype) + 0.3
    labels = (torch.rand(90, generator=generator) * 4).exp().long()
    arguments = (query[:30], labels[:30], query[30:], labels[30:]) if gallery else (query, labels)
    got = quiet_metrics(*arguments, ks=(1, 5), metric=metric, backend=backend)
    assert_close(got, oracle.retrieval_metrics(*arguments, ks=(1, 5), metric=metric))
    assert 0 < got["map_at_r"] < got["r_precision"] < 1


def test_one_search_or_three(backend):
    generator = torch.Generator().manual_seed(6)
    query, labels = torch.randn(200, 8, generator=generator), torch.arange(200) // 8
    got = retrieval_metrics(query, labels, ks=(4, 1), metric="l2", backend=backend)
    recalls = recall_at_k(query, labels, ks=(4, 1), metric="l2", backend=backend)
    assert got == {f"recall_at_{k}": value for k, value in recalls.items()} | {
        "r_precision": r_precision(query, labels, metric="l2", backend=backend),
        "map_at_r": map_at_r(query, labels, metric="l2", backend=backend),
    }
    assert [*got] == ["recall_at_4", "recall_at_1", "r_precision", "map_at_r"]
    task = query[:50], labels[:50], query[50:], labels[50:] % 6
    got = quiet_metrics(*task, backend=backend)
    with pytest.warns(UserWarning, match="of MAP@R$"):
        assert got["map_at_r"] == map_at_r(*task, backend=backend)
    with pytest.warns(UserWarning, match="of R-precision$"):
        assert got["r_precision"] == r_precision(*task, backend=backend)


@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_values_of_pml(metric, gallery, backend):
    """PML's metrics are exact where nothing ties and no label is large."""
    generator = torch.Generator().manual_seed(7)
    query, labels = torch.randn(300, 6, generator=generator), torch.arange(300).sqrt().long()
    task = (query[::3], labels[::3], query[1::3], labels[1::3]) if gallery else (query, labels)
    names = "r_precision", "mean_average_precision_at_r"
    calculator = AccuracyCalculator(
        include=names,
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=metric == "cosine")),
    )
    wanted = calculator.get_accuracy(*task)
    got = quiet_metrics(*task, metric=metric, backend=backend)
    assert got["r_precision"] == pytest.approx(wanted["r_precision"], abs=1e-12)
    assert got["map_at_r"] == pytest.approx(wanted["mean_average_precision_at_r"], abs=1e-12)


def test_precisions_by_hand(backend):
    query, labels = torch.zeros(1, 1), torch.tensor([0])
    for near, r_precision_of_it, map_at_r_of_it in (
        ([0, 0, 0, 1, 1], 1.0, 1.0),
        ([0, 1, 0, 0, 1], 2 / 3, (1 + 2 / 3) / 3),
        ([1, 0, 0, 1, 0], 2 / 3, (1 / 2 + 2 / 3) / 3),
        ([1, 1, 1, 0, 0], 0.0, 0.0),
        ([1, 1, 1, 1, 0], 0.0, 0.0),
        ([0, 1, 1, 1, 1], 1.0, 1.0),
    ):
        task = query, labels, torch.arange(5.0)[:, None], torch.tensor(near)
        got = retrieval_metrics(*task, ks=(1,), metric="l2", backend=backend)
        assert got["r_precision"] == pytest.approx(r_precision_of_it, abs=1e-15)
        assert got["map_at_r"] == pytest.approx(map_at_r_of_it, abs=1e-15)


def test_classes_of_two_make_one_metric_of_three(backend):
    generator = torch.Generator().manual_seed(8)
    query, labels = torch.randint(-2, 3, (120, 3), generator=generator).float(), torch.arange(120)
    got = retrieval_metrics(query, labels // 2, ks=(1,), backend=backend)
    assert got["recall_at_1"] == got["r_precision"] == got["map_at_r"] > 0


@pytest.mark.parametrize("metric", METRICS)
def test_all_metrics_of_collapsed_embeddings(metric, backend):
    labels = torch.arange(50) % 7
    query = torch.full((50, 7), 0.1)
    got = retrieval_metrics(query, labels, ks=(1, 5), metric=metric, backend=backend)
    assert_close(got, oracle.retrieval_metrics(query, labels, ks=(1, 5), metric=metric))


def test_float64_differences_decide_precisions(backend):
    query, labels, reference, reference_labels = close_pairs()
    task = query, labels // 4, reference, reference_labels // 4
    got = retrieval_metrics(*task, ks=(1, 3), backend=backend)
    assert_close(got, oracle.retrieval_metrics(*task, ks=(1, 3)))
    assert 0 < got["map_at_r"] < 1


def test_precisions_without_a_relevant_reference():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    for function, name in ((map_at_r, "MAP@R"), (r_precision, "R-precision")):
        with pytest.warns(UserWarning, match=f"1 of 3 queries .* of {name}") as caught:
            assert function(query, torch.tensor([0, 0, 1])) == 1.0
        assert [warning.filename for warning in caught] == [__file__]
        with pytest.warns(UserWarning, match=f"3 of 3 queries.* {name} is nan"):
            assert math.isnan(function(query, torch.arange(3)))
    names = "Recall@K, R-precision and MAP@R"
    with pytest.warns(UserWarning, match=f"3 of 3 queries.* {names} are nan") as caught:
        got = retrieval_metrics(query, torch.arange(3), ks=(1,))
    assert [warning.filename for warning in caught] == [__file__]
    assert all(map(math.isnan, got.values()))
    assert [*got] == ["recall_at_1", "r_precision", "map_at_r"]
