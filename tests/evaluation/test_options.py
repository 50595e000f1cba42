"""Bad ``ks``, ``backend`` and ``metric`` are named, with what came and what is allowed."""

import numpy as np
import pytest
import torch

from pml_gpw.evaluation import recall_at_k

from .refusals import LABELS, QUERY, assert_refused

CASES = {
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
    "backend": ({"backend": "annoy"}, r"backend must be one of auto, .*, got 'annoy'"),
    "metric": ({"metric": "L2"}, r"metric must be one of cosine, .*, got 'L2'"),
}


@pytest.mark.parametrize(("change", "message"), CASES.values(), ids=CASES)
def test_bad_options_are_named(change, message):
    assert_refused(change, message)


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
