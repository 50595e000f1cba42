"""Each bad argument is named, with what came and what is allowed."""

import sys

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import RecallCalculator, recall_at_k

QUERY, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])
NAN, INF = QUERY.clone(), QUERY.clone()
NAN[1, 2], INF[3, 0] = torch.nan, torch.inf

CASES = {
    "nan query": ({"query": NAN}, "query must be finite, got NaN or Inf in 1 of 4 rows"),
    "inf query": ({"query": INF}, "query must be finite"),
    "nan reference": ({"reference": NAN, "reference_labels": LABELS}, "reference must be finite"),
    "query shape": ({"query": QUERY[0]}, r"query must have shape \(N, D\), got \(4,\)"),
    "no queries": (
        {"query": QUERY[:0], "query_labels": LABELS[:0]},
        "query must have at least one",
    ),
    "no dims": ({"query": QUERY[:, :0]}, r"query must have at least one .* got \(4, 0\)"),
    "integer query": ({"query": QUERY.long()}, "query must be floating point, got torch.int64"),
    "list query": ({"query": QUERY.tolist()}, "query must be a torch.Tensor, got list"),
    "text query": ({"query": np.array([["a"]])}, "query must hold numbers, got an array of <U1"),
    "dims": (
        {"reference": torch.eye(5), "reference_labels": torch.arange(5)},
        "reference must have the 4 dimensions of query, got 5",
    ),
    "label shape": ({"query_labels": LABELS[:3]}, r"query_labels must have shape \(4,\).*\(3,\)"),
    "fractional labels": ({"query_labels": LABELS + 0.5}, "query_labels must be integers"),
    "rounded labels": ({"query_labels": LABELS + 2.0**24}, "query_labels must be integers"),
    "list labels": ({"query_labels": [0, 0, 1, 1]}, "query_labels must be a torch.Tensor"),
    "text labels": ({"query_labels": np.array([*"aabb"])}, "query_labels must hold numbers"),
    "reference labels": (
        {"reference": QUERY, "reference_labels": LABELS[:2]},
        r"reference_labels must have shape \(4,\)",
    ),
    "reference alone": ({"reference": QUERY}, "must come together, got reference alone"),
    "its labels alone": ({"reference_labels": LABELS}, "together, got reference_labels alone"),
    "K over N - 1": ({"ks": (1, 4)}, r"ks must be at most 3, .* got \[4\]"),
    "K over M": (
        {"ks": (4, 5, 9), "reference": QUERY, "reference_labels": LABELS},
        r"ks must be at most 4, .* got \[5, 9\]",
    ),
    "no ks": ({"ks": ()}, r"ks must be at least one integer >= 1, got \[\]"),
    "zero": ({"ks": (1, 0)}, r"ks must be .* got \[1, 0\]"),
    "negative": ({"ks": (-1,)}, r"ks must be .* got \[-1\]"),
    "fraction": ({"ks": (1.0,)}, r"ks must be .* got \(1.0,\)"),
    "bool": ({"ks": (True,)}, r"ks must be .* got \[True\]"),
    "number": ({"ks": 1}, "ks must be .* got 1"),
    "text": ({"ks": "12"}, "ks must be .* got '12'"),
    "backend": ({"backend": "annoy"}, r"backend must be one of \['auto', .*\], got 'annoy'"),
    "metric": ({"metric": "L2"}, r"metric must be one of \['cosine', .*\], got 'L2'"),
}


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES)
def test_recall_at_k_names_the_argument(change, message):
    with pytest.raises(ValueError, match=message):
        recall_at_k(**({"query": QUERY, "query_labels": LABELS, "ks": (1,)} | change))


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES)
def test_the_calculator_names_the_argument(change, message):
    arguments = {"query": QUERY, "query_labels": LABELS} | change
    options = {"ks": arguments.pop("ks", (1,))}
    options |= {name: arguments.pop(name) for name in ("backend", "metric") if name in arguments}
    with pytest.raises(ValueError, match=message):
        RecallCalculator(**options).get_accuracy(**arguments)


def test_the_largest_k_is_allowed():
    assert recall_at_k(QUERY, LABELS, ks=(3,)) == {3: 1.0}
    assert recall_at_k(QUERY, LABELS, QUERY, LABELS, ks=(4,)) == {4: 1.0}


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
