"""Each bad argument is named, with what came and what is allowed."""

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import recall_at_k

from .refusals import LABELS, QUERY, assert_refused

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
    "boolean query": ({"query": QUERY.bool()}, "query must be floating point, got torch.bool"),
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
    "masked query": (
        {"query": np.ma.masked_array(QUERY.numpy(), mask=[[True] * 4] + [[False] * 4] * 3)},
        "query must be an array without a mask",
    ),
    "masked labels": (
        {"query_labels": np.ma.masked_array(LABELS.numpy())},
        "query_labels must be an array without a mask",
    ),
    "text labels": ({"query_labels": np.array([*"aabb"])}, "query_labels must hold numbers"),
    "reference labels": (
        {"reference": QUERY, "reference_labels": LABELS[:2]},
        r"reference_labels must have shape \(4,\)",
    ),
    "reference alone": ({"reference": QUERY}, "must come together, got reference alone"),
    "its labels alone": ({"reference_labels": LABELS}, "together, got reference_labels alone"),
}


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES)
def test_bad_arguments_are_named(change, message):
    assert_refused(change, message)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int64])
def test_integers_are_taken_as_the_numbers_that_they_are(kind):
    codes = torch.randint(0, 100, (40, 3), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) // 4
    expected = recall_at_k(codes.double(), labels, ks=(1, 2), metric="l2")
    assert recall_at_k(codes.to(kind), labels, ks=(1, 2), metric="l2") == expected
    assert recall_at_k(codes.to(kind).numpy(), labels, ks=(1, 2), metric="l2") == expected
