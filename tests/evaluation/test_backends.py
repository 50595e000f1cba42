"""The choice of a search back end, and its blocks of queries."""

import sys

import pytest
import torch

from pml_gpw.evaluation import RecallCalculator, backends, recall_at_k

from .refusals import LABELS, QUERY


@pytest.mark.parametrize(("columns", "step"), [(2**10, 64), (2**13, 16), (2**30, 16)])
def test_blocks_are_of_bounded_size(columns, step):
    slices = [*backends.row_blocks(1000, columns, size=2**16)]
    assert torch.equal(torch.cat([torch.arange(1000)[rows] for rows in slices]), torch.arange(1000))
    assert max(rows.stop - rows.start for rows in slices) == step


@pytest.mark.parametrize(
    ("platform", "installed", "expected"),
    [("linux", True, "faiss"), ("linux", False, "torch"), ("darwin", True, "torch")],
)
def test_auto_takes_the_fastest_that_is_there(platform, installed, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    if not installed:
        monkeypatch.setitem(sys.modules, "faiss", None)
    taken = []
    for name in ("faiss", "torch"):
        monkeypatch.setattr(
            backends, f"{name}_search", lambda reference, name=name: taken.append(name)
        )
    backends.auto_search(torch.rand(3, 2))
    assert taken == [expected]


@pytest.fixture
def no_faiss(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delattr("pytorch_metric_learning.utils.inference.faiss", raising=False)


def test_without_faiss(no_faiss):
    wanted = recall_at_k(QUERY, LABELS, ks=(1, 3))
    assert recall_at_k(QUERY, LABELS, ks=(1, 3), backend="torch") == wanted
    got = RecallCalculator(ks=(1, 3)).get_accuracy(QUERY, LABELS)
    assert got == {f"recall_at_{k}": value for k, value in wanted.items()}
    calculator = RecallCalculator(include=("mean_average_precision_at_r",), ks=(3,))
    assert calculator.get_accuracy(QUERY, LABELS).keys() == {
        "recall_at_3",
        "mean_average_precision_at_r",
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: recall_at_k(QUERY, LABELS, ks=(1,), backend="faiss"),
        lambda: RecallCalculator(backend="faiss"),
    ],
)
def test_asking_for_faiss_without_it(no_faiss, build):
    with pytest.raises(ImportError, match=r'pip install "pml-gpw\[faiss\]"'):
        build()
