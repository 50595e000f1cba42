"""Relevance and ignored references of every kind equal loops, with ties, on both back ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation import backends, map_at_r, r_precision, ranking, recall_at_k
from pml_gpw.evaluation import retrieval_metrics as all_metrics
from pml_gpw.evaluation.measures import MEASURES
from pml_gpw.relations import ByClass, ByDistance, SameLevel, jaccard

from . import loops
from .refusals import LABELS, QUERY
from .tasks import METRICS, assert_close, quiet_metrics

EVERY = tuple(MEASURES)


def everything(*task, **options):
    found = quiet_metrics(*task, metrics=EVERY, **options)
    return {name: found[name] for name in sorted(found)}


@st.composite
def judged_tasks(draw):
    """Embeddings that tie, and grades, ignored pairs or neither."""
    dims = draw(st.integers(1, 2))
    entry = st.integers(*draw(st.sampled_from([(0, 1), (-1, 1), (-3, 3)])))
    n, m, is_self = draw(st.integers(1, 8)), draw(st.integers(2, 12)), draw(st.booleans())
    n = m if is_self else n

    def side(rows):
        drawn = draw(st.lists(st.tuples(*[entry] * dims), min_size=rows, max_size=rows))
        return torch.tensor(drawn, dtype=torch.float32)

    query = side(n)
    reference = query if is_self else side(m)
    grade = st.sampled_from(draw(st.sampled_from([(0.0, 1.0), (0.0, 1.0, 2.0, 0.5, math.nan)])))
    relevant = [[draw(grade) for _ in range(m)] for _ in range(n)]
    ignored = [[draw(st.booleans()) and draw(st.booleans()) for _ in range(m)] for _ in range(n)]
    ks = draw(st.lists(st.integers(1, m - is_self), min_size=1, max_size=3, unique=True))
    return (
        query,
        None if is_self else reference,
        relevant,
        ignored,
        ks,
        draw(st.sampled_from(METRICS)),
    )


@given(judged_tasks(), st.sampled_from(["matrix", "relation", "lists"]))
def test_every_kind_with_ties(task, kind):
    query, reference, relevant, ignored, ks, metric = task
    if kind == "lists":  # which have no grades
        relevant = [[float(grade > 0) for grade in row] for row in relevant]
        given = [[j for j, grade in enumerate(row) if grade] for row in relevant]
        ignore = [[j for j, is_out in enumerate(row) if is_out] for row in ignored]
    else:
        given = torch.tensor(relevant, dtype=torch.float64)
        ignore = torch.tensor(ignored)
    if kind == "relation":
        matrices = given, ignore
        given, ignore = (lambda rows, columns, m=m: m[rows][:, columns] for m in matrices)
    own = 0 if reference is None else None
    searched = query if reference is None else reference
    wanted = loops.metrics(query, searched, relevant, ignored, ks=ks, metric=metric, own=own)
    for backend in ("torch", "faiss"):
        found = everything(
            query,
            reference=reference,
            relevant=given,
            ignore=ignore,
            ks=ks,
            metric=metric,
            backend=backend,
        )
        assert_close(found, wanted)


@pytest.fixture
def graded():
    """Points on a circle that float32 cannot tell apart everywhere, with grades and ignored."""
    generator = torch.Generator().manual_seed(3)
    angles = torch.randint(60, (130,), generator=generator) * 0.05
    angles = angles.double() + 1e-8 * torch.randn(130, generator=generator).double()
    angles[:40] += 0.02
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    relevant = torch.randint(4, (40, 90), generator=generator).double()
    relevant[torch.rand(40, 90, generator=generator) < 0.6] = 0.0
    return points[:40], points[40:], relevant, torch.rand(40, 90, generator=generator) < 0.2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cost", [0, 10**9], ids=["pairs", "all references"])
def test_float64_decides_grades(graded, metric, cost, backend, monkeypatch):
    query, reference, relevant, ignored = graded
    monkeypatch.setattr(ranking, "PAIR_COST", cost)
    wanted = loops.metrics(
        query, reference, relevant.tolist(), ignored.tolist(), ks=(1, 5, 60), metric=metric
    )
    options = {"ks": (1, 5, 60), "metric": metric, "backend": backend}
    found = everything(query, reference=reference, relevant=relevant, ignore=ignored, **options)
    assert_close(found, wanted)
    monkeypatch.setattr(backends, "BLOCK_SIZE", 1)
    monkeypatch.setattr(ranking, "FLOAT64_BLOCK_SIZE", 1)
    again = everything(query, reference=reference, relevant=relevant, ignore=ignored, **options)
    assert again == found
    without = everything(query, reference=reference, relevant=relevant, **options)
    assert without["map"] != found["map"]


def test_labels_and_what_says_the_same(backend):
    """Equal labels as a relation, a matrix and lists: the same digits."""
    generator = torch.Generator().manual_seed(0)
    query, labels = torch.randn(150, 4, generator=generator), torch.arange(150) % 17
    task = query[:60], labels[:60], query[60:], labels[60:]
    same = labels[:60, None] == labels[60:]
    lists = [row.nonzero()[:, 0] for row in same]
    wanted = all_metrics(*task, metrics=EVERY, backend=backend)
    for relevant in (
        lambda a, b: a[:, None] == b,
        same,
        same.numpy(),
        same.long(),
        lists,
        [each.tolist() for each in lists],
        tuple({*each.tolist()} for each in lists),
        np.array([each.numpy() for each in lists] + [None], dtype=object)[:-1],
    ):
        assert all_metrics(*task, metrics=EVERY, relevant=relevant, backend=backend) == wanted
    own = all_metrics(query, labels, metrics=EVERY, backend=backend)
    relation = {"relevant": lambda a, b: a[:, None] == b}
    assert all_metrics(query, labels, metrics=EVERY, backend=backend, **relation) == own


def test_relations_of_the_package():
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(40, 3, generator=generator)
    tags = torch.randint(2, (40, 5), generator=generator)
    places = 40 * torch.rand(40, 2, generator=generator)
    classes = torch.arange(40) % 4
    similar = torch.rand(4, 4, generator=generator)
    for labels, relation in (
        (tags, jaccard),
        (places, ByDistance(lambda metres: metres <= 25)),
        (classes, ByClass(similar)),
        (tags, SameLevel(1)),
    ):
        relevant = relation(labels, labels).double().tolist()
        nothing = [[False] * 40] * 40
        wanted = loops.metrics(query, query, relevant, nothing, ks=(1, 9), own=0)
        assert_close(everything(query, labels, relevant=relation, ks=(1, 9)), wanted)


def test_ignored_beside_labels():
    """Same identity and same camera: neither a hit nor a rank."""
    query = torch.tensor([[0.0]])
    reference, labels = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([7, 8, 7, 7])
    task = query, torch.tensor([7]), reference, labels
    options = {"metric": "l2", "metrics": ("recall_at_k", "map", "mrr"), "ks": (1, 2)}
    found = all_metrics(*task, ignore=[[0]], **options)
    assert found["recall_at_1"] == 0
    assert found["recall_at_2"] == 1
    assert found["map"] == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-15)
    assert found["mrr"] == 0.5
    assert all_metrics(*task, **options)["recall_at_1"] == 1


def test_one_liners_take_all_options():
    query, labels = torch.randn(30, 3), torch.arange(30) % 5
    relevant = labels[:, None] == labels
    assert recall_at_k(query, relevant=relevant) == recall_at_k(query, labels)
    assert map_at_r(query, relevant=relevant) == map_at_r(query, labels)
    assert r_precision(query, relevant=relevant) == r_precision(query, labels)
    assert map_at_r(query, labels, query, labels, "torch", "l2") == map_at_r(
        query, labels, query, labels, backend="torch", metric="l2"
    )


def test_queries_without_a_relevant_reference_are_left_out_and_counted():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    with pytest.warns(UserWarning, match="1 of 3 queries") as caught:
        assert recall_at_k(query, torch.tensor([0, 0, 1]), ks=(1,)) == {1: 1.0}
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="3 of 3 queries.* nan") as caught:
        got = recall_at_k(query, torch.arange(3), ks=(1, 2))
    assert [*got] == [1, 2]
    assert all(map(math.isnan, got.values()))
    assert len(caught) == 1
    everyone = torch.ones(3, 3, dtype=torch.bool)
    with pytest.warns(UserWarning, match="3 of 3 queries.* mAP is nan"):
        found = all_metrics(query, relevant=everyone, ignore=everyone, metrics=("map",))
    assert math.isnan(found["map"])


def test_no_warning_without_queries_without_a_relevant_reference(recwarn):
    assert recall_at_k(torch.randn(6, 2), torch.arange(6) // 2, ks=(5,)) == {5: 1.0}
    assert not recwarn.list


SQUARE = torch.eye(4)
REFUSED = {
    "too few lists": ([[1], [0]], "relevant must be 4 lists, one a query, got 2"),
    "beyond": ([[1], [0], [4], [2]], r"indices of references in \[0, 4\), got \[4\] for query 2"),
    "negative": ([[1], [0], [3], [-1]], r"in \[0, 4\), got \[-1\] for query 3"),
    "fractions": ([[1.0], [0], [3], [2]], r"got \[1.0\] for query 0"),
    "masks": (SQUARE.bool().tolist(), r"lists of indices .* got \[True, .* for query 0"),
    "nested": ([[[1]], [[0]], [[3]], [[2]]], r"got \[\[1\]\] for query 0"),
    "numbers": ([1, 0, 3, 2], "relevant must be lists of indices .* got 1 for query 0"),
    "shape": (SQUARE[:3], r"relevant must be a tensor of \(4, 4\) booleans, or .*\(3, 4\)"),
    "below 0": (-SQUARE, "relevant must be grades >= 0 or NaN, got some below 0"),
    "inf": (SQUARE / 0.0, "relevant must be finite grades, got inf"),
    "complex": (SQUARE.cfloat(), "relevant must be a tensor of .* got torch.complex64"),
    "text": ("label", "relevant must be a list of .* a relation or a matrix, got 'label'"),
    "class": (SameLevel, "relevant must be a list of .* got <class"),
    "relation": (lambda a, b: a, r"relevant must return a tensor of \(4, 4\) booleans, or"),
}


@pytest.mark.parametrize(("relevant", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_relevance_is_named(relevant, message):
    with pytest.raises(ValueError, match=message):
        all_metrics(QUERY, ks=(1,), relevant=relevant)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore": SQUARE}, r"ignore must be a tensor of \(4, 4\) booleans, got torch.float32"),
        ({"ignore": [[4], [], [], []]}, r"ignore must be lists of .* got \[4\] for query 0"),
        ({"metrics": ("recall",)}, r"metrics must be names out of \['map', .*, got \('recall',\)"),
        ({"metrics": ()}, r"metrics must be .* got \(\)"),
        ({"query_labels": None}, "query_labels must be a torch.Tensor, got NoneType"),
        (
            {"relevant": SQUARE, "reference": QUERY, "query_labels": LABELS},
            "reference and reference_labels must come together, got reference alone",
        ),
        (
            {"relevant": SQUARE, "query_labels": None, "reference_labels": LABELS},
            "must come together, got reference_labels alone",
        ),
        (
            {"relevant": SameLevel(0), "query_labels": LABELS[:3]},
            "query_labels must be a tensor of 4 rows for a relation, got",
        ),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        all_metrics(**{"query": QUERY, "query_labels": LABELS, "ks": (1,)} | change)
