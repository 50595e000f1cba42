"""The choice of a search back end, and its blocks of queries."""

import sys

import pytest
import torch

from pml_gpw.evaluation import RecallCalculator, backends, recall_at_k

QUERY, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])


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
    pytest.importorskip("faiss")
    monkeypatch.setattr(sys, "platform", platform)
    if not installed:
        monkeypatch.setitem(sys.modules, "faiss", None)
    assert backends.auto_search(torch.rand(3, 2)).__qualname__.startswith(f"{expected}_search")


def test_without_faiss(monkeypatch):
    """Everything but faiss itself, which names what to install."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delattr("pytorch_metric_learning.utils.inference.faiss", raising=False)
    wanted = recall_at_k(QUERY, LABELS, ks=(1, 3))
    assert recall_at_k(QUERY, LABELS, ks=(1, 3), backend="torch") == wanted
    got = RecallCalculator(ks=(1, 3)).get_accuracy(QUERY, LABELS)
    assert got == {f"recall_at_{k}": value for k, value in wanted.items()}
    calculator = RecallCalculator(include=("mean_average_precision_at_r",), ks=(3,))
    got = calculator.get_accuracy(QUERY, LABELS)
    assert {*got} == {"recall_at_3", "mean_average_precision_at_r"}
    for build in (
        lambda: recall_at_k(QUERY, LABELS, ks=(1,), backend="faiss"),
        lambda: RecallCalculator(backend="faiss"),
    ):
        with pytest.raises(ImportError, match=r'pip install "pml-gpw\[faiss\]"'):
            build()
