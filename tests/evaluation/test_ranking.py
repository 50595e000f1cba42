"""Float32 lists decide most of the order, float64 the rest, and blocks change nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from pml_gpw.evaluation import ranking, retrieval_metrics

from ..probes import LargestTensor
from . import oracle
from .tasks import METRICS, among_many, assert_close, close_pairs, quiet

pytest.importorskip("faiss")


class InFloat64(TorchDispatchMode):
    """Counts the similarities that float64 computes: of single pairs, and over all references."""

    def __init__(self):
        super().__init__()
        self.pairs = self.of_all = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if getattr(result, "dtype", None) == torch.float64:
            self.of_all += result.numel() * (func is torch.ops.aten.mm.default)
            self.pairs += result.numel() * (func is torch.ops.aten.sum.dim_IntList)
        return result


@pytest.fixture
def shaky():
    """Uneven classes on a circle, many of whose similarities float32 cannot tell apart."""
    generator = torch.Generator().manual_seed(1)
    angles = torch.randint(40, (150,), generator=generator) * 0.05
    angles = angles.double() + 2e-7 * torch.randn(150, generator=generator).double()
    angles[:70] += 0.02
    labels = (torch.rand(150, generator=generator) * 4).exp().long()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    return points[:70], labels[:70], points[70:], labels[70:]


@pytest.mark.parametrize("metric", METRICS)
def test_float64_of_pairs_and_of_all_references(shaky, metric, backend):
    wanted = oracle.retrieval_metrics(*shaky, ks=(1, 3), metric=metric)
    options = {"ks": (1, 3), "metric": metric, "backend": backend}
    for task, counted in ((shaky, "of_all"), (among_many(*shaky), "pairs")):
        with InFloat64() as seen:
            assert_close(quiet(retrieval_metrics, *task, **options), wanted)
        assert getattr(seen, counted) > 50


def test_few_queries_need_float64(backend):
    """The bound is tight enough to be of use: the exact step is for the few."""
    generator = torch.Generator().manual_seed(8)
    labels = torch.arange(2000) // 10
    centres = torch.randn(200, 64, generator=generator)[labels]
    query = centres + 1.2 * torch.randn(2000, 64, generator=generator)
    with InFloat64() as seen:
        retrieval_metrics(query, labels, ks=(1,), backend=backend)
    assert seen.of_all < 20 * 2000
    assert 0 < seen.pairs < 20_000


def test_blocks_change_nothing_and_bound_memory():
    """Several blocks of queries, of float64 rows, and of the pairs of long vectors."""
    n, m, classes = 70, 50_000, 97
    found = torch.arange(n) % 13
    task = torch.ones(n, 2), found, torch.ones(m, 2), torch.arange(m) % classes
    got = retrieval_metrics(*task, ks=(3, 7), backend="torch", metrics=("recall_at_k",))
    assert got == {f"recall_at_{k}": float((found < k).double().mean()) for k in (3, 7)}
    with LargestTensor() as seen:
        got = retrieval_metrics(*task, ks=(3, 7), backend="torch", metrics=("map",))
    places = [torch.arange(label + 1, m + 1, classes) for label in found.tolist()]
    precisions = [(torch.arange(len(at)) + 1) / at.double() for at in places]
    assert_close(got, {"map": float(torch.stack([each.mean() for each in precisions]).mean())})
    assert seen.numel < n * m
    query, labels, reference, reference_labels = close_pairs()
    wanted = oracle.retrieval_metrics(*close_pairs(), ks=(1,))
    wide = [torch.nn.functional.pad(x, (0, 2**15 - 2)) for x in (query, reference)]
    got = retrieval_metrics(wide[0], labels, wide[1], reference_labels, ks=(1,))
    assert_close(got, wanted)


@pytest.mark.parametrize(("precision", "least"), [("medium", 2.0**-7), ("high", 2.0**-10)])
def test_reduced_precision_of_torch(precision, least):
    generator = torch.Generator().manual_seed(4)
    query, labels = torch.randn(64, 32, generator=generator), torch.arange(64) // 4
    wanted = retrieval_metrics(query, labels, backend="torch")
    assert 2.0**-20 < ranking.float32_error(32) < 2.0**-18
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert retrieval_metrics(query, labels, backend="torch") == wanted
        assert least < ranking.float32_error(32) < 4 * least
    finally:
        torch.set_float32_matmul_precision(before)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert retrieval_metrics(query, labels, backend="torch") == wanted


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
