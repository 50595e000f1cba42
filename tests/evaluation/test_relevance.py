"""Relevance and ignored references of every kind equal loops, with ties, on both back ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad

from pml_gpw.evaluation import map_at_r, r_precision, recall_at_k, retrieval_metrics
from pml_gpw.evaluation.measures import MEASURES

from . import oracle
from .tasks import METRICS, among_many, assert_close, quiet

EVERY = tuple(MEASURES)


def everything(*task, **options):
    found = quiet(retrieval_metrics, *task, metrics=EVERY, **options)
    return {name: found[name] for name in sorted(found)}


@st.composite
def judged_tasks(draw):
    """Embeddings that tie, and grades, ignored pairs or neither."""
    dims = draw(st.integers(1, 2))
    entry = st.integers(*draw(st.sampled_from([(0, 1), (-1, 1), (-3, 3)])))
    n, m, is_self = draw(st.integers(1, 8)), draw(st.integers(2, 12)), draw(st.booleans())
    n = m if is_self else n

    def table(values, width, rows=n):
        row = st.lists(values, min_size=width, max_size=width)
        return torch.tensor(draw(st.lists(row, min_size=rows, max_size=rows)))

    query = table(entry, dims).float()
    reference = None if is_self else table(entry, dims, m).float()
    grade = st.sampled_from(draw(st.sampled_from([(0.0, 1.0), (0.0, 1.0, 2.0, 0.5, math.nan)])))
    relevant, ignored = table(grade, m).double(), table(st.sampled_from([True, *[False] * 3]), m)
    ks = draw(st.lists(st.integers(1, m - is_self), min_size=1, max_size=3, unique=True))
    options = {"ks": ks, "metric": draw(st.sampled_from(METRICS))}
    return query, reference, relevant, ignored, options


def lists_of(matrix):
    return [row.nonzero()[:, 0].tolist() for row in matrix]


@settings(max_examples=50)
@given(judged_tasks(), st.sampled_from(["matrix", "relation", "lists"]))
def test_every_kind_with_ties(task, kind):
    query, reference, relevant, ignored, options = task
    rules = relevant, ignored
    if kind == "lists":  # which have no grades
        relevant = (relevant > 0).double()
        rules = lists_of(relevant), lists_of(ignored)
    elif kind == "relation":
        rules = [lambda rows, columns, m=m: m[rows][:, columns] for m in rules]
    wanted = oracle.metrics(query, reference, relevant.tolist(), ignored.tolist(), **options)
    options |= {"reference": reference, "relevant": rules[0], "ignore": rules[1]}
    for backend in ("torch", "faiss"):
        assert_close(everything(query, backend=backend, **options), wanted)


@pytest.mark.parametrize("metric", METRICS)
def test_float64_decides_grades(metric, backend):
    """Of points on a circle that float32 cannot tell apart everywhere."""
    generator = torch.Generator().manual_seed(3)
    angles = torch.randint(60, (130,), generator=generator) * 0.05
    angles = angles.double() + 2e-7 * torch.randn(130, generator=generator).double()
    angles[:40] += 0.02
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    relevant = torch.randint(4, (40, 90), generator=generator).double()
    relevant[torch.rand(40, 90, generator=generator) < 0.6] = 0.0
    ignored = torch.rand(40, 90, generator=generator) < 0.2
    query, reference, options = points[:40], points[40:], {"ks": (1, 5, 60), "metric": metric}
    wanted = oracle.metrics(query, reference, relevant.tolist(), ignored.tolist(), **options)
    options["backend"] = backend
    rules = {"relevant": relevant, "ignore": ignored}
    assert_close(everything(query, reference=reference, **rules, **options), wanted)
    labels = torch.zeros(40), torch.zeros(90)
    query, _, reference, _ = among_many(query, labels[0], reference, labels[1])
    more = {name: pad(matrix, (0, 2000)) for name, matrix in rules.items()}
    found = everything(query, reference=reference, **more, **options)
    assert_close(found, wanted)
    without = everything(query, reference=reference, relevant=more["relevant"], **options)
    assert without["map"] != found["map"]


def test_labels_and_what_says_the_same(backend):
    """Equal labels as a relation, a matrix and lists: the same digits."""
    generator = torch.Generator().manual_seed(0)
    query, labels = torch.randn(150, 4, generator=generator), torch.arange(150) % 17
    task = query[:60], labels[:60], query[60:], labels[60:]
    same = labels[:60, None] == labels[60:]
    lists = lists_of(same)
    wanted = retrieval_metrics(*task, metrics=EVERY, backend=backend)
    for relevant in (
        lambda a, b: a[:, None] == b,
        same,
        same.numpy(),
        same.long(),
        lists,
        [torch.tensor(each) for each in lists],
        tuple({*each} for each in lists),
        np.array([np.array(each) for each in lists] + [None], dtype=object)[:-1],
    ):
        assert retrieval_metrics(*task, metrics=EVERY, relevant=relevant, backend=backend) == wanted
    own = retrieval_metrics(query, labels, metrics=EVERY, backend=backend)
    relation = {"relevant": lambda a, b: a[:, None] == b, "metrics": EVERY, "backend": backend}
    assert retrieval_metrics(query, labels, **relation) == own


def test_ignored_beside_labels():
    """Same identity and same camera: neither a hit nor a rank."""
    query = torch.tensor([[0.0]])
    reference, labels = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([7, 8, 7, 7])
    task = query, torch.tensor([7]), reference, labels
    options = {"metric": "l2", "metrics": ("recall_at_k", "map", "mrr"), "ks": (1, 2)}
    found = retrieval_metrics(*task, ignore=[[0]], **options)
    wanted = {"recall_at_1": 0, "recall_at_2": 1, "map": (1 / 2 + 2 / 3) / 2, "mrr": 0.5}
    assert found == pytest.approx(wanted, abs=1e-15)
    assert retrieval_metrics(*task, **options)["recall_at_1"] == 1


def test_one_liners_take_all_options():
    query, labels = torch.randn(30, 3), torch.arange(30) % 5
    for function in (recall_at_k, map_at_r, r_precision):
        assert function(query, relevant=labels[:, None] == labels) == function(query, labels)


def test_queries_whose_relevant_references_are_ignored_are_left_out():
    query, everyone = torch.eye(3), torch.ones(3, 3, dtype=torch.bool)
    with pytest.warns(UserWarning, match="3 of 3 queries.* mAP is nan"):
        found = retrieval_metrics(query, relevant=everyone, ignore=everyone, metrics=("map",))
    assert math.isnan(found["map"])
