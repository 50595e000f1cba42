"""The one decision: which program computes a batch, from facts about it."""

import pytest
import torch

from pml_gpw.engine import IndexPairs, InnerProduct, LabelPairs, PairBatch, Plan
from pml_gpw.engine import plan as plans
from pml_gpw.engine.plan import choose_program
from pml_gpw.engine.reduction import MEAN, NONE
from pml_gpw.engine.similarity import GivenSimilarities
from pml_gpw.mining import MSMining
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity, Triplet

from ..row_losses import NTXent

RULES = MultiSimilarity(), MSMining()
COSINE, DOT = InnerProduct(), InnerProduct(normalized=False)


def batch(n, m=None, requires_grad=True, device="cpu"):
    x = torch.ones(n, 2, device=device).requires_grad_(requires_grad)
    labels = torch.zeros(n, dtype=torch.int64, device=device)
    if m is None:
        itself = torch.arange(n, device=device)
        return PairBatch(x, x, LabelPairs(labels, labels, itself, symmetric=True))
    y, others = torch.ones(m, 2), torch.zeros(m, dtype=torch.int64)
    return PairBatch(x, y, LabelPairs(labels, others))


def listed(n, pairs):
    x, index = torch.ones(n, 2), torch.arange(pairs)
    pairs = IndexPairs.of((index, index + 1, index, index + 2), (n, n))
    return PairBatch(x, x, pairs)


def test_another_layout_is_refused():
    with pytest.raises(ValueError, match="layout must be one of auto, dense, sparse rows, "):
        Plan(layout="searched")


def test_chunks_on_a_cpu():
    def size(n, requires_grad=True, plan=plans.AUTO):
        return choose_program(batch(n, None, requires_grad), *RULES, COSINE, plan).chunk_size

    assert size(1000) == 2**21 // 1000
    assert size(200_000, requires_grad=False) == 16
    some_loss = choose_program(batch(1000), NTXent(), None, COSINE)
    assert some_loss.chunk_size == 3 * size(1000) // 4  # autograd holds more of a chunk
    assert size(200_000) == 64
    assert size(1000, plan=Plan(7)) == 7
    with torch.no_grad():
        assert size(200_000) == 16


@pytest.mark.parametrize("free", [80 * 2**30, 2**28, 0])
def test_chunks_on_a_gpu_fit_into_half_of_its_free_memory(monkeypatch, free):
    """What torch holds and does not use is free too; a small matrix does not ask the driver."""
    asked = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: asked.append(d) or (free, 2**40))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: 3 * 2**26)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda d: 2 * 2**26)
    gpu = torch.device("cuda")
    assert plans.default_chunk_size(gpu, 2**10, 2**15, False) == 2**10
    assert not asked
    bytes_free = free + 2**26
    elements = min(2**25, bytes_free // 64)
    assert plans.default_chunk_size(gpu, 2**17, 2**17, False) == max(16, elements // 2**17)
    assert asked == [gpu]


def test_what_holds_all_its_weights():
    """A batch with itself of up to 64 MB, where the user has not asked for chunks."""

    def holds(n, plan=plans.AUTO, **kwargs):
        return choose_program(batch(n, **kwargs), *RULES, COSINE, plan).holds_all_weights

    assert holds(4096)
    assert not holds(4097)
    assert not holds(4096, requires_grad=False)
    assert not holds(4096, Plan(64))
    assert not holds(100, m=100)


@pytest.mark.parametrize(
    ("layout", "some", "rules", "similarity"),
    [
        ("dense", batch(100), RULES, COSINE),  # small
        ("sparse rows", batch(400), RULES, COSINE),  # one chunk
        ("sparse batch", batch(2000), RULES, COSINE),  # half of the product is enough
        ("sparse rows", batch(2000), (RULES[0], None), COSINE),  # all negatives are weighed
        ("sparse rows", batch(300, 2000), RULES, COSINE),
        ("sparse batch", listed(300, 200), RULES, COSINE),
        ("dense", batch(2000), (Triplet(), None), COSINE),  # reads dense rows only
        ("dense", batch(2000, device="meta"), RULES, COSINE),  # nobody waits for a number of pairs
        ("sparse rows", batch(400), RULES, DOT),
        ("matrix", batch(400), RULES, GivenSimilarities(torch.eye(2))),  # no inner products
    ],
)
def test_layouts(layout, some, rules, similarity):
    assert choose_program(some, *rules, similarity).layout == layout


def test_products_that_might_overflow_are_looked_at():
    large = batch(400)
    large = large.with_embeddings(*[large.anchors.detach() * 3e19] * 2)
    assert choose_program(large, *RULES, DOT).checks_products
    assert choose_program(large, *RULES, DOT).layout == "sparse rows"
    assert not choose_program(large, *RULES, COSINE).checks_products
    assert not choose_program(batch(400), *RULES, DOT).checks_products
    with deferred_checks():  # as on an accelerator, where nobody looks before
        assert choose_program(batch(400), *RULES, DOT).checks_products


@pytest.mark.parametrize(
    ("is_one_graph", "some", "similarity", "plan", "reduction"),
    [
        (True, batch(100), COSINE, Plan(fused=True), MEAN),
        (True, batch(100), COSINE, Plan(100, fused=True), MEAN),
        (False, batch(100), COSINE, Plan(50, fused=True), MEAN),
        (False, batch(100, 100), COSINE, Plan(fused=True), MEAN),
        (False, batch(100), COSINE, Plan(fused=True), NONE),
        (False, batch(100), DOT, Plan(fused=True), MEAN),
    ],
)
def test_what_is_compiled_and_as_one_graph(is_one_graph, some, similarity, plan, reduction):
    program = choose_program(some, *RULES, similarity, plan, reduction)
    assert (program.is_compiled, program.is_strict, program.layout) == (True, True, "dense")
    assert program.is_one_graph == is_one_graph
    assert not choose_program(some, *RULES, similarity, Plan(), reduction).is_compiled
    assert not choose_program(some, None, RULES[1], similarity, plan).is_compiled  # to mine alone
