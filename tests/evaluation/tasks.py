"""Retrieval tasks with ties and near ties, and metrics of them."""

import math
import warnings

import pytest
import torch
from hypothesis import strategies as st
from torch.nn.functional import pad

METRICS = ["cosine", "dot", "l2"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def same(got, wanted):
    """Equal names and numbers, nan included."""
    return list(got) == list(wanted) and all(
        got[k] == w or (math.isnan(got[k]) and math.isnan(w)) for k, w in wanted.items()
    )


def assert_close(got, wanted):
    """Equal up to the rounding of a mean over queries, which may be summed in another order."""
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert got[name] == pytest.approx(value, abs=1e-14, nan_ok=True), name


@st.composite
def tied_tasks(draw):
    """Small integers as embeddings: equal similarities, duplicates, zero rows, single labels."""
    dims = draw(st.integers(1, 3))
    entry = st.integers(*draw(st.sampled_from([(0, 0), (0, 1), (-1, 1), (-3, 3)])))
    label = st.integers(0, draw(st.integers(0, 6)))

    def side(least):
        row = st.tuples(label, *[entry] * dims)
        drawn = torch.tensor(draw(st.lists(row, min_size=least, max_size=30)))
        return drawn[:, 1:].to(draw(st.sampled_from(DTYPES))), drawn[:, 0]

    arguments = side(1) + side(1) if draw(st.booleans()) else side(2)
    depth = len(arguments[-1]) - (len(arguments) == 2)
    ks = draw(st.lists(st.integers(1, depth), min_size=1, max_size=4, unique=True))
    return arguments, ks, draw(st.sampled_from(METRICS))


def among_many(query, query_labels, reference, reference_labels):
    """The same with 2,000 more references, farther than all others by every metric.

    They have a dimension of their own. So few references are in doubt that their similarities are
    computed one by one; without them, those of all references are.
    """
    reach = int(max(x.double().norm(dim=1).max() for x in (query, reference))) + 1
    far = pad(reference.new_zeros(2000, reference.shape[1]), (0, 1), value=-reach)
    return (
        pad(query, (0, 1), value=reach),
        query_labels,
        torch.cat([pad(reference, (0, 1)), far]),
        pad(reference_labels, (0, 2000), value=-1),
    )


def close_pairs():
    """Each query's relevant and irrelevant reference are closer than float32 can tell."""
    angles = torch.linspace(0.1, 3, 40, dtype=torch.float64)
    gaps = torch.where(torch.arange(40) % 3 == 0, 1e-9, -1e-9)
    near, far = angles + 0.03, angles + 0.03 + gaps

    def points(angle):
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    labels = torch.arange(40)
    # The nearest two of each query: one of no query's label, and one of its own.
    reference = torch.cat([points(near), points(far)])
    return points(angles), labels, reference, torch.cat([labels + 100, labels])
