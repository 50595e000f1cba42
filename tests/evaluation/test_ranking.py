"""Float32 lists decide most of the order, float64 the rest, and blocks change nothing."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation import backends, ranking, recall_at_k, retrieval_metrics

from ..probes import LargestTensor
from . import oracle
from .tasks import METRICS, assert_close, close_pairs, quiet_metrics, quiet_recall, tied_tasks

NO_PAIRS, ALL_PAIRS = 10**9, 0


@pytest.fixture
def shaky():
    """Uneven classes on a circle, many of whose similarities float32 cannot tell apart."""
    generator = torch.Generator().manual_seed(1)
    angles = torch.randint(40, (150,), generator=generator) * 0.05
    angles = angles.double() + 1e-8 * torch.randn(150, generator=generator).double()
    angles[:70] += 0.02
    labels = (torch.rand(150, generator=generator) * 4).exp().long()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    return points[:70], labels[:70], points[70:], labels[70:]


@pytest.fixture
def counted(monkeypatch):
    """How many queries went to float64 over all references, and how many single pairs."""
    seen = {"queries": 0, "pairs": 0}
    real, real_pairs = ranking.Ranking._grades_of_all, ranking.Ranking._pair_similarities

    def all_references(self, rows, length):
        seen["queries"] += len(rows)
        return real(self, rows, length)

    def pairs(self, vectors, rows, columns):
        seen["pairs"] += len(rows)
        return real_pairs(self, vectors, rows, columns)

    monkeypatch.setattr(ranking.Ranking, "_grades_of_all", all_references)
    monkeypatch.setattr(ranking.Ranking, "_pair_similarities", pairs)
    return seen


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cost", [NO_PAIRS, ALL_PAIRS], ids=["all references", "pairs"])
def test_float64_of_pairs_and_of_all_references(shaky, metric, cost, backend, counted, monkeypatch):
    monkeypatch.setattr(ranking, "PAIR_COST", cost)
    monkeypatch.setattr(ranking, "list_length", lambda needed: 2 * needed + 20)
    got = quiet_metrics(*shaky, ks=(1, 3), metric=metric, backend=backend)
    assert_close(got, oracle.retrieval_metrics(*shaky, ks=(1, 3), metric=metric))
    assert counted["queries" if cost else "pairs"] > 10
    assert not (cost and counted["pairs"])


@given(tied_tasks())
def test_ties_among_pairs(task):
    arguments, ks, metric = task
    wanted = oracle.retrieval_metrics(*arguments, ks=ks, metric=metric)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ranking, "PAIR_COST", ALL_PAIRS)
        for name in ("torch", "faiss"):
            got = quiet_metrics(*arguments, ks=ks, metric=metric, backend=name)
            assert_close(got, wanted)


def test_few_queries_need_float64_over_all_references(counted, backend):
    generator = torch.Generator().manual_seed(8)
    labels = torch.arange(2000) // 10
    centres = torch.randn(200, 64, generator=generator)[labels]
    query = centres + 1.2 * torch.randn(2000, 64, generator=generator)
    retrieval_metrics(query, labels, ks=(1,), backend=backend)
    assert counted["queries"] < 20
    assert 0 < counted["pairs"] < 20_000


def test_blocks_of_any_size(shaky, backend, monkeypatch):
    wanted = quiet_metrics(*shaky, ks=(1, 7), backend=backend)
    monkeypatch.setattr(backends, "BLOCK_SIZE", 1)
    monkeypatch.setattr(ranking, "FLOAT64_BLOCK_SIZE", 7)
    assert quiet_metrics(*shaky, ks=(1, 7), backend=backend) == wanted


def test_memory_is_bounded_where_all_are_relevant(monkeypatch):
    """Every list has all references, and still no matrix of all queries is made."""
    n = 1200
    monkeypatch.setattr(backends, "BLOCK_SIZE", 16 * n)
    query, labels = torch.randn(n, 4, generator=torch.Generator().manual_seed(0)), torch.arange(n)
    for of in (torch.zeros_like(labels), labels % 2):
        with LargestTensor() as seen:
            found = retrieval_metrics(query, of, ks=(1,), backend="torch")
        assert seen.numel < n * n / 20
        assert (found["map_at_r"] == 1) == (not of.any())


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_precision_of_torch(precision):
    generator = torch.Generator().manual_seed(4)
    query, labels = torch.randn(64, 32, generator=generator), torch.arange(64) // 4
    wanted = retrieval_metrics(query, labels)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert retrieval_metrics(query, labels) == wanted
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert retrieval_metrics(query, labels) == wanted


def test_negative_control_float32_alone_is_wrong(backend, monkeypatch):
    query, labels, reference, reference_labels = close_pairs()
    task = query, labels // 4, reference, reference_labels // 4
    monkeypatch.setattr(
        ranking, "doubtful_pairs", lambda similarities, *_: similarities > torch.inf
    )
    got = retrieval_metrics(*task, ks=(1,), backend=backend)
    assert got["map_at_r"] != oracle.retrieval_metrics(*task, ks=(1,))["map_at_r"]


def test_negative_control_the_own_row_changes_the_number(backend, monkeypatch):
    """A leave-one-out that forgets to leave one out."""
    query = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(60) // 6
    wanted = retrieval_metrics(query, labels, backend=backend)["map_at_r"]
    real = ranking.Ranking.__init__

    def with_own_row(self, task, *options):
        real(self, replace(task, self_index=None), *options)

    monkeypatch.setattr(ranking.Ranking, "__init__", with_own_row)
    assert abs(retrieval_metrics(query, labels, backend=backend)["map_at_r"] - wanted) > 0.01


def test_few_queries_need_float64_for_recall(counted):
    """The bound is tight enough to be of use: the exact step is for the few."""
    generator = torch.Generator().manual_seed(8)
    recall_at_k(torch.randn(1000, 128, generator=generator), torch.arange(1000) // 5, ks=(1, 10))
    assert counted["queries"] < 20
    assert counted["pairs"] < 2000


def test_the_bound_counts_reduced_precision():
    before = torch.get_float32_matmul_precision()
    try:
        for precision, least in (("medium", 2.0**-7), ("high", 2.0**-10), ("highest", 2.0**-20)):
            torch.set_float32_matmul_precision(precision)
            assert least < ranking.float32_error(32) < 4 * least
    finally:
        torch.set_float32_matmul_precision(before)


def test_negative_control_without_the_error_bound(backend, monkeypatch):
    monkeypatch.setattr(ranking, "float32_error", lambda dims: 0.0)
    monkeypatch.setattr(ranking, "TIE_TOLERANCE", 0.0)
    task = close_pairs()
    assert quiet_recall(*task, ks=(1,), backend=backend) != oracle.recall_at_k(*task, ks=(1,))


VALUES = st.sampled_from([0.9, 0.85, 0.8, 0.5, 0.1, -torch.inf])


@given(st.lists(st.tuples(VALUES, st.integers(0, 2)), min_size=1, max_size=12))
def test_doubtful_are_those_near_one_of_another_grade(row):
    row.sort(key=lambda pair: -pair[0])
    similarities, grades = (torch.tensor([values]) for values in zip(*row, strict=True))
    floor = torch.tensor([[0.3]])
    found = ranking.doubtful_pairs(similarities.double(), grades.float(), floor, 0.06)
    wanted = [
        s >= 0.3 and any(g != other and abs(s - t) <= 0.06 for t, other in row) for s, g in row
    ]
    assert found.tolist() == [wanted]
