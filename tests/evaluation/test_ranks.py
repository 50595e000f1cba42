"""The float32 search and its error bound give exact ranks, and leave little to float64."""

import pytest
import torch

from pml_gpw.evaluation import exact, ranks, recall_at_k

from . import oracle
from .tasks import close_pairs, quiet_recall


def test_bounds_hold_the_exact_rank():
    generator = torch.Generator().manual_seed(7)
    vectors = torch.nn.functional.normalize(torch.randn(300, 64, generator=generator).double())
    labels = torch.randint(10, (300,), generator=generator)
    self_index = torch.arange(300)
    exactly = exact.exact_ranks(vectors, labels, self_index, vectors, labels)
    similarities, indices = (vectors.float() @ vectors.float().T).topk(20)
    same = labels[indices] == labels[:, None]
    margin = 2 * ranks.float32_error(64) + exact.TIE_TOLERANCE
    low, high = ranks.rank_bounds(
        similarities, same & (indices != self_index[:, None]), ~same, margin, 300
    )
    assert (low <= exactly).all()
    assert (exactly <= high).all()
    assert (low == high).double().mean() > 0.5


def test_few_queries_need_float64(monkeypatch):
    """The bound is tight enough to be of use: the exact step is for the few."""
    sizes = []

    def counted(query, *arguments):
        sizes.append(len(query))
        return exact.exact_ranks(query, *arguments)

    monkeypatch.setattr(ranks, "exact_ranks", counted)
    generator = torch.Generator().manual_seed(8)
    recall_at_k(torch.randn(1000, 128, generator=generator), torch.arange(1000) // 5, ks=(1, 10))
    assert sum(sizes) < 20


def test_many_blocks(backend, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    query = torch.randint(-2, 3, (70, 3), generator=generator).float()
    labels = torch.randint(20, (70,), generator=generator)
    wanted = quiet_recall(query, labels, backend=backend)

    def small(rows, columns, size=None):
        return (slice(start, start + 11) for start in range(0, rows, 11))

    monkeypatch.setattr(ranks, "row_blocks", small)
    monkeypatch.setattr(exact, "row_blocks", small)
    assert quiet_recall(query, labels, backend=backend) == wanted


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_precision_of_torch(precision):
    generator = torch.Generator().manual_seed(4)
    query, labels = torch.randn(64, 32, generator=generator), torch.arange(64) // 2
    wanted = recall_at_k(query, labels)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert ranks.float32_error(32) > 2.0**-10
        assert recall_at_k(query, labels) == wanted
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert recall_at_k(query, labels) == wanted


def test_negative_control_float32_alone_is_wrong(backend, monkeypatch):
    monkeypatch.setattr(ranks, "float32_error", lambda dims: 0.0)
    monkeypatch.setattr(ranks, "TIE_TOLERANCE", 0.0)
    task = close_pairs()
    assert quiet_recall(*task, ks=(1,), backend=backend) != oracle.recall_at_k(*task, ks=(1,))
