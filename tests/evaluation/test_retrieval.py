"""Each bad argument is named, with what came and what is allowed; forms that mean the same."""

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import recall_at_k, retrieval_metrics
from pml_gpw.relations import SameLevel

QUERY, LABELS = torch.eye(4), torch.tensor([0, 0, 1, 1])
GALLERY = {"reference": QUERY, "reference_labels": LABELS}
NAN, INF = QUERY.clone(), QUERY.clone()
NAN[1, 2], INF[3, 0] = torch.nan, torch.inf
MASKED = np.ma.masked_array(QUERY.numpy(), mask=[[True] * 4] + [[False] * 4] * 3)

REFUSED = [
    ({"query": NAN}, "query must be finite, got NaN or Inf in 1 of 4 rows"),
    ({"query": INF}, "query must be finite"),
    (GALLERY | {"reference": NAN}, "reference must be finite"),
    ({"query": QUERY[0]}, r"query must have shape \(N, D\), got \(4,\)"),
    ({"query": QUERY[:0], "query_labels": LABELS[:0]}, "query must have at least one"),
    ({"query": QUERY[:, :0]}, r"query must have at least one .* got \(4, 0\)"),
    ({"query": QUERY.bool()}, "query must be floating point, got torch.bool"),
    ({"query": QUERY.tolist()}, "query must be a torch.Tensor, got list"),
    ({"query": np.array([["a"]])}, "query must hold numbers, got an array of <U1"),
    ({"query": MASKED}, "query must be an array without a mask"),
    (GALLERY | {"reference": QUERY[:, 1:]}, "reference must have the 4 dimensions of query, got 3"),
    ({"query_labels": LABELS[:3]}, r"query_labels must have shape \(4,\).*\(3,\)"),
    ({"query_labels": LABELS + 0.5}, "query_labels must be integers"),
    ({"query_labels": LABELS + 2.0**24}, "query_labels must be integers"),
    ({"query_labels": [0, 0, 1, 1]}, "query_labels must be a torch.Tensor"),
    ({"query_labels": None}, "query_labels must be a torch.Tensor, got NoneType"),
    ({"query_labels": MASKED[0]}, "query_labels must be an array without a mask"),
    ({"query_labels": np.array([*"aabb"])}, "query_labels must hold numbers"),
    (GALLERY | {"reference_labels": LABELS[:2]}, r"reference_labels must have shape \(4,\)"),
    ({"reference": QUERY}, "must come together, got reference alone"),
    ({"reference_labels": LABELS}, "must come together, got reference_labels alone"),
    ({"ks": (1, 4)}, r"ks must be at most 3, .* got \[4\]"),
    (GALLERY | {"ks": (4, 5, 9)}, r"ks must be at most 4, .* got \[5, 9\]"),
    ({"ks": ()}, r"ks must be at least one integer >= 1, got \[\]"),
    ({"ks": (1, 0)}, r"ks must be .* got \[1, 0\]"),
    ({"ks": (1.0,)}, r"ks must be .* got \(1.0,\)"),
    ({"ks": (True,)}, r"ks must be .* got \[True\]"),
    ({"ks": 1}, "ks must be .* got 1"),
    ({"ks": "12"}, "ks must be .* got '12'"),
    ({"backend": "annoy"}, r"backend must be one of auto, .*, got 'annoy'"),
    ({"metric": "L2"}, r"metric must be one of cosine, .*, got 'L2'"),
    ({"metrics": ("recall",)}, r"metrics must be names out of \['map', .*, got \('recall',\)"),
    ({"metrics": ()}, r"metrics must be .* got \(\)"),
    ({"ignore": QUERY}, r"ignore must be a tensor of \(4, 4\) booleans, got torch.float32"),
    ({"ignore": [[4], [], [], []]}, r"ignore must be lists of .* got \[4\] for query 0"),
    ({"relevant": QUERY, "reference": QUERY}, "must come together, got reference alone"),
    (
        {"relevant": QUERY, "query_labels": None, "reference_labels": LABELS},
        "must come together, got reference_labels alone",
    ),
    (
        {"relevant": SameLevel(0), "query_labels": LABELS[:3]},
        "query_labels must be a tensor of 4 rows for a relation, got",
    ),
]
REFUSED_RELEVANCE = [
    ([[1], [0]], "be 4 lists, one a query, got 2"),
    ([[1], [0], [4], [2]], r"be lists of indices .* in \[0, 4\), got \[4\] for query 2"),
    ([[1], [0], [3], [-1]], r"be .* in \[0, 4\), got \[-1\] for query 3"),
    ([[1.0], [0], [3], [2]], r"be .* got \[1.0\] for query 0"),
    (QUERY.bool().tolist(), r"be lists of indices .* got \[True, .* for query 0"),
    ([1, 0, 3, 2], "be lists of indices .* got 1 for query 0"),
    (QUERY[:3], r"be a tensor of \(4, 4\) booleans, or .*\(3, 4\)"),
    (-QUERY, "be grades >= 0 or NaN, got some below 0"),
    (QUERY / 0.0, "be finite grades, got inf"),
    (QUERY.cfloat(), "be a tensor of .* got torch.complex64"),
    ("label", "be a list of .* a relation or a matrix, got 'label'"),
    (SameLevel, "be a list of .* got <class"),
    (lambda a, b: a, r"return a tensor of \(4, 4\) booleans, or"),
]
REFUSED += [({"relevant": wrong}, f"relevant must {said}") for wrong, said in REFUSED_RELEVANCE]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_bad_arguments_are_named(change, message):
    arguments = {"query": QUERY, "query_labels": LABELS, "ks": (1,)} | change
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**arguments)


def test_the_largest_k_is_allowed():
    assert recall_at_k(QUERY, LABELS, ks=(3,)) == {3: 1.0}
    assert recall_at_k(QUERY, LABELS, QUERY, LABELS, ks=(4,)) == {4: 1.0}


def test_ks_may_be_any_iterable_of_integers():
    query, labels = torch.randn(12, 4), torch.arange(12) // 3
    wanted = recall_at_k(query, labels, ks=(4, 1))
    assert list(wanted) == [4, 1]
    for ks in ([4, 1, 4], iter([4, 1]), np.array([4, 1]), torch.tensor([4, 1])):
        got = recall_at_k(query, labels, ks=ks)
        assert got == wanted
        assert all(type(k) is int and type(value) is float for k, value in got.items())


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_integers_are_taken_as_the_numbers_that_they_are(kind):
    codes = torch.randint(0, 100, (40, 3), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) // 4
    expected = recall_at_k(codes.double(), labels, ks=(1, 2), metric="l2")
    assert recall_at_k(codes.to(kind), labels, ks=(1, 2), metric="l2") == expected
    assert recall_at_k(codes.to(kind).numpy(), labels, ks=(1, 2), metric="l2") == expected
