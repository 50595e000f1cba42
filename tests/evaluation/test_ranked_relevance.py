"""Float32 lists decide most of the order, float64 the rest, and blocks change nothing."""

import pytest
import torch
from hypothesis import given

from pml_gpw.evaluation import backends, exact_lists, ranked_relevance, retrieval_metrics

from ..probes import LargestTensor
from . import oracle
from .tasks import METRICS, assert_close, close_pairs, quiet_metrics, tied_tasks

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
    real = ranked_relevance.exact_relevance
    real_pairs = ranked_relevance.RankedRelevanceSearch._float64_similarities

    def all_references(query, *arguments):
        seen["queries"] += len(query)
        return real(query, *arguments)

    def pairs(self, vectors, rows, columns):
        seen["pairs"] += len(rows)
        return real_pairs(self, vectors, rows, columns)

    monkeypatch.setattr(ranked_relevance, "exact_relevance", all_references)
    monkeypatch.setattr(ranked_relevance.RankedRelevanceSearch, "_float64_similarities", pairs)
    return seen


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cost", [NO_PAIRS, ALL_PAIRS], ids=["all references", "pairs"])
def test_float64_of_pairs_and_of_all_references(shaky, metric, cost, backend, counted, monkeypatch):
    monkeypatch.setattr(ranked_relevance, "PAIR_COST", cost)
    monkeypatch.setattr(ranked_relevance, "list_length", lambda largest: 2 * largest + 20)
    got = quiet_metrics(*shaky, ks=(1, 3), metric=metric, backend=backend)
    assert_close(got, oracle.retrieval_metrics(*shaky, ks=(1, 3), metric=metric))
    assert counted["queries" if cost else "pairs"] > 10
    assert not (cost and counted["pairs"])


@given(tied_tasks())
def test_ties_among_pairs(task):
    arguments, ks, metric = task
    wanted = oracle.retrieval_metrics(*arguments, ks=ks, metric=metric)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ranked_relevance, "PAIR_COST", ALL_PAIRS)
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
    monkeypatch.setattr(exact_lists, "FLOAT64_BLOCK_SIZE", 1)
    monkeypatch.setattr(ranked_relevance, "FLOAT64_BLOCK_SIZE", 7)
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
        ranked_relevance, "_has_doubts", lambda similarities, *_: similarities[:, 0] > torch.inf
    )
    got = retrieval_metrics(*task, ks=(1,), backend=backend)
    assert got["map_at_r"] != oracle.retrieval_metrics(*task, ks=(1,))["map_at_r"]


def test_negative_control_the_own_row_changes_the_number(backend, monkeypatch):
    """A leave-one-out that forgets to leave one out."""
    query = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(60) // 6
    wanted = retrieval_metrics(query, labels, backend=backend)["map_at_r"]
    real = ranked_relevance.RankedRelevanceSearch.measures

    def with_own_row(self, query, labels, self_index, num_relevant):
        return real(self, query, labels, torch.full_like(self_index, -1), num_relevant)

    monkeypatch.setattr(ranked_relevance.RankedRelevanceSearch, "measures", with_own_row)
    assert abs(retrieval_metrics(query, labels, backend=backend)["map_at_r"] - wanted) > 0.01
