"""Recall@K equals the oracle exactly, for every backend, metric and kind of tie."""

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_gpw.evaluation import exact, neighbors, ranks, recall_at_k
from pml_gpw.evaluation.metrics import CHUNK

from . import oracle

METRICS = ["cosine", "dot", "l2"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture(params=["torch", "faiss", "auto"])
def backend(request):
    if request.param == "faiss":
        pytest.importorskip("faiss")
    return request.param


def assert_same(got, wanted):
    assert list(got) == list(wanted)
    assert all(got[k] == w or (math.isnan(got[k]) and math.isnan(w)) for k, w in wanted.items()), (
        got,
        wanted,
    )


def quiet_recall(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return recall_at_k(*arguments, **options)


@st.composite
def tied_tasks(draw):
    """Small integers as embeddings: many equal similarities, duplicates, zero rows, lone labels."""
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


@given(tied_tasks())
def test_ties_are_decided_by_index(task):
    arguments, ks, metric = task
    wanted = oracle.recall(*arguments, ks=ks, metric=metric)
    for name in ("torch", "faiss"):
        assert_same(quiet_recall(*arguments, ks=ks, metric=metric, backend=name), wanted)


@pytest.mark.parametrize("shortest", [False, True], ids=["usual lists", "shortest lists"])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("gallery", [False, True], ids=["self", "gallery"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_embeddings(metric, gallery, dtype, shortest, backend, monkeypatch):
    if shortest:
        monkeypatch.setattr(ranks, "candidates", lambda largest_k: largest_k)
    generator = torch.Generator().manual_seed(5)
    query = torch.randn(60, 3, generator=generator, dtype=dtype) + 0.3
    labels = torch.randint(12, (60,), generator=generator)
    arguments = (query[:20], labels[:20], query[20:], labels[20:]) if gallery else (query, labels)
    ks = (1, 3, 10, 39)
    got = quiet_recall(*arguments, ks=ks, metric=metric, backend=backend)
    assert_same(got, oracle.recall(*arguments, ks=ks, metric=metric))
    assert 0 < got[1] < got[39] <= 1


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


def test_float64_differences_decide(backend):
    task = close_pairs()
    wanted = oracle.recall(*task, ks=(1, 2, 5))
    assert_same(quiet_recall(*task, ks=(1, 2, 5), backend=backend), wanted)
    assert 0 < wanted[1] < 1


def test_negative_control_float32_alone_is_wrong(backend, monkeypatch):
    monkeypatch.setattr(ranks, "float32_error", lambda dims: 0.0)
    monkeypatch.setattr(ranks, "TIE", 0.0)
    task = close_pairs()
    assert quiet_recall(*task, ks=(1,), backend=backend) != oracle.recall(*task, ks=(1,))


def test_negative_control_the_order_of_equal_references_matters(backend):
    query, reference = torch.ones(1, 2), torch.ones(3, 2)
    wanted = {0: {1: 1.0, 2: 1.0}, 1: {1: 0.0, 2: 1.0}, 2: {1: 0.0, 2: 0.0}}
    for place, recalls in wanted.items():
        labels = (torch.arange(3) != place).long()
        task = query, torch.tensor([0]), reference, labels
        assert oracle.recall(*task, ks=(1, 2)) == recalls
        assert recall_at_k(*task, ks=(1, 2), backend=backend) == recalls


def test_value_by_hand(backend):
    query = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    labels = torch.tensor([0, 1, 0, 1])
    # Neighbours of 0: 1, 3, 7. Of 1: 0, 3, 7. Of 3: 1, 0, 7. Of 7: 3, 1, 0.
    got = recall_at_k(query, labels, ks=(1, 2, 3), metric="l2", backend=backend)
    assert got == {1: 0.0, 2: 0.75, 3: 1.0}


@pytest.mark.parametrize("metric", METRICS)
def test_collapsed_embeddings(metric, backend):
    labels = torch.arange(50) // 5
    query = torch.full((50, 7), 0.1)
    got = quiet_recall(query, labels, ks=(1, 5, 30), metric=metric, backend=backend)
    assert_same(got, oracle.recall(query, labels, ks=(1, 5, 30), metric=metric))


def test_duplicates_of_long_vectors_tie_whatever_computed_them(backend):
    """Kernels sum edge columns in another order, so equal rows get unequal float products."""
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, 301, generator=generator, dtype=torch.float64)
    reference = row.repeat(37, 1)
    for place in range(37):
        labels = torch.ones(37, dtype=torch.long)
        labels[place] = 0
        got = recall_at_k(
            -row, torch.tensor([0]), reference, labels, ks=range(1, 38), backend=backend
        )
        assert got == {k: float(k > place) for k in range(1, 38)}


def test_duplicate_that_hides_the_own_row(backend):
    """Leaving out the nearest instead of the own row would count a query as its own hit."""
    query = torch.ones(40, 2)
    labels = torch.arange(40)
    labels[39] = 38
    got = quiet_recall(query, labels, ks=(1, 38, 39), backend=backend)
    assert got == {1: 0.0, 38: 0.0, 39: 1.0}


def test_own_row_counts_in_a_gallery(backend):
    query, labels = torch.randn(8, 3), torch.arange(8)
    assert recall_at_k(query, labels, query.clone(), labels, ks=(1,), backend=backend) == {1: 1.0}


def test_labels_beyond_float32(backend):
    big = 2**24
    labels = torch.tensor([big, big + 1, big, big + 1])
    query = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    assert recall_at_k(query, labels, ks=(1, 3), backend=backend) == {1: 0.0, 3: 1.0}


@pytest.mark.parametrize("metric", METRICS)
def test_common_scale_changes_nothing(metric, backend):
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(30) // 3
    wanted = recall_at_k(query, labels, metric=metric)
    for scale in (1e-200, 1e-30, 1e30, 1e200):
        assert recall_at_k(query * scale, labels, metric=metric, backend=backend) == wanted


def test_l2_far_from_the_origin(backend):
    generator = torch.Generator().manual_seed(2)
    query = torch.randn(30, 2, generator=generator, dtype=torch.float64) + 1e6
    labels = torch.arange(30) // 3
    got = recall_at_k(query, labels, metric="l2", backend=backend)
    assert_same(got, oracle.recall(query, labels, ks=(1, 2, 4, 8), metric="l2"))


def test_many_blocks(backend, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    query = torch.randint(-2, 3, (70, 3), generator=generator).float()
    labels = torch.randint(20, (70,), generator=generator)
    wanted = quiet_recall(query, labels, backend=backend)

    def small(rows, columns, size=None):
        return (slice(start, start + 11) for start in range(0, rows, 11))

    monkeypatch.setattr(ranks, "blocks", small)
    monkeypatch.setattr(exact, "blocks", small)
    assert quiet_recall(query, labels, backend=backend) == wanted


@pytest.mark.parametrize("metric", METRICS)
def test_more_rows_than_are_converted_at_once(metric):
    generator = torch.Generator().manual_seed(3)
    size = 2 * CHUNK + 1
    query, labels = torch.randn(size, 4, generator=generator), torch.arange(size) // 2
    few = torch.tensor([0, CHUNK - 1, CHUNK, size - 1])
    for task in (
        (query[few], labels[few], query, labels),
        (query, labels, query[few], labels[few]),
    ):
        got = quiet_recall(*task, ks=(1, 2, 4), metric=metric)
        assert_same(got, oracle.recall(*task, ks=(1, 2, 4), metric=metric))


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


def test_arrays_tensors_and_gradients_are_alike(backend):
    generator = torch.Generator().manual_seed(6)
    query = torch.randn(12, 4, generator=generator, requires_grad=True)
    labels = torch.arange(12) // 3
    array = query.detach().numpy()
    wanted = recall_at_k(query, labels, backend=backend)
    frozen = array.copy()
    frozen.flags.writeable = False
    for form in (array, frozen, array[::-1][::-1], array.astype(np.float64)):
        assert recall_at_k(form, labels.numpy().astype(np.int32), backend=backend) == wanted
    assert recall_at_k(query, labels.double(), backend=backend) == wanted
    assert query.grad is None


def test_inputs_are_left_as_they_are(backend):
    query, labels = torch.randn(12, 4), torch.arange(12) // 3
    before = query.clone(), labels.clone()
    recall_at_k(query, labels, query, labels, backend=backend, metric="l2")
    assert torch.equal(query, before[0])
    assert torch.equal(labels, before[1])


def test_ks_may_be_any_iterable_of_integers():
    query, labels = torch.randn(12, 4), torch.arange(12) // 3
    wanted = recall_at_k(query, labels, ks=(4, 1))
    assert list(wanted) == [4, 1]
    for ks in ([4, 1, 4], iter([4, 1]), np.array([4, 1]), torch.tensor([4, 1])):
        got = recall_at_k(query, labels, ks=ks)
        assert got == wanted
        assert all(type(k) is int and type(value) is float for k, value in got.items())


def test_lone_queries_are_left_out_and_counted():
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


def test_no_warning_without_lone_queries(recwarn):
    assert recall_at_k(torch.randn(6, 2), torch.arange(6) // 2, ks=(5,)) == {5: 1.0}
    assert not recwarn.list


def test_bounds_hold_the_exact_rank():
    generator = torch.Generator().manual_seed(7)
    vectors = torch.nn.functional.normalize(torch.randn(300, 64, generator=generator).double())
    labels = torch.randint(10, (300,), generator=generator)
    own = torch.arange(300)
    exactly = exact.exact_ranks(vectors, labels, own, vectors, labels)
    similarities, indices = (vectors.float() @ vectors.float().T).topk(20)
    same = labels[indices] == labels[:, None]
    band = 2 * ranks.float32_error(64) + exact.TIE
    low, high = ranks.rank_bounds(similarities, same & (indices != own[:, None]), ~same, band, 300)
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


@pytest.mark.parametrize(("columns", "step"), [(2**10, 64), (2**13, 16), (2**30, 16)])
def test_blocks_are_of_bounded_size(columns, step):
    slices = [*neighbors.blocks(1000, columns, size=2**16)]
    assert torch.equal(torch.cat([torch.arange(1000)[rows] for rows in slices]), torch.arange(1000))
    assert max(rows.stop - rows.start for rows in slices) == step


@pytest.mark.parametrize(
    ("platform", "installed", "expected"),
    [("linux", True, "faiss"), ("linux", False, "torch"), ("darwin", True, "torch")],
)
def test_auto_takes_the_quickest_that_is_there(platform, installed, expected, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    if not installed:
        monkeypatch.setitem(sys.modules, "faiss", None)
    taken = []
    for name in ("faiss", "torch"):
        monkeypatch.setattr(
            neighbors, f"{name}_nearest", lambda reference, name=name: taken.append(name)
        )
    neighbors.quickest_nearest(torch.rand(3, 2))
    assert taken == [expected]
