"""Rows through torch.compile: values, how many graphs, and what happens where it does not work."""

import shutil
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import fused
from pml_gpw.functional import gpw_loss, share_a_label, warm_up
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import (
    BatchHardMining,
    DistanceWeightedMining,
    EasyHardMining,
    HardestNegatives,
    MSMining,
    PairMarginMining,
    PairMining,
)
from pml_gpw.value_checks import later
from pml_gpw.weightings import (
    BinomialDeviance,
    Constant,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
    PairWeighting,
    PairWeights,
    Triplet,
)

from ..cases import CASES, MINING_CASES
from ..probes import LargestTensor
from ..tolerances import close


@dataclass(frozen=True)
class Focal(PairWeighting):
    """A user's own, by weights alone."""

    power: float = 2.0
    scale: float = 1.0

    def weigh(self, pos, neg):
        far, near = (1 - pos.sim).clamp(min=0), neg.sim.clamp(min=0)
        return PairWeights(self.scale * far**self.power, near**self.power)


@dataclass(frozen=True)
class NearerThanTheMean(PairMining):
    shift: float = 0.0

    def select(self, pos, neg):
        mean = neg.sum(neg.sim) / neg.count().clamp(min=1)
        return pos.sim == pos.sim, neg.sim > neg.expand(mean + self.shift)


can_fuse = pytest.mark.skipif(not fused.is_torch_new_enough(), reason="torch is too old to fuse")
needs_compiler = pytest.mark.skipif(
    not fused.is_torch_new_enough() or shutil.which("g++") is None, reason="needs a C++ compiler"
)
SIZES = [  # N, M (None: among themselves), chunk size: after a square and another chunk, any other
    (24, None, None),
    (24, 40, None),
    (50, None, None),
    (50, None, 16),
    (33, None, 8),
    (17, 64, 5),
    (9, 9, None),
    (130, None, 129),  # a last chunk of one row
]


def batch(n, m, dtype=torch.float32, seed=0, dims=16):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(6, (n,), generator=generator)
    if m is None:
        return (x,), labels, {}
    y = torch.randn(m, dims, generator=generator, dtype=dtype).requires_grad_()
    others = torch.randint(6, (m,), generator=generator)
    return (x, y), labels, {"references": y, "reference_labels": others}


def both_ways(weighting, mining, n, m, chunk_size, reduction="mean", dtype=torch.float64, **kwargs):
    """The loss and its gradients, fused and not."""
    for is_fused in (True, False):
        leaves, labels, others = batch(n, m, dtype)
        torch.manual_seed(5)  # for the keys of random rules
        chosen = {"reduction": reduction, "chunk_size": chunk_size, "fused": is_fused}
        losses = gpw_loss(leaves[0], labels, weighting, mining, **others, **chosen, **kwargs)
        scale = torch.arange(1, 1 + losses.numel(), dtype=dtype).view(losses.shape)
        gradients = torch.autograd.grad((losses * scale).sum(), leaves)
        yield losses.detach(), *gradients


def check_both_ways(*args, **kwargs):
    first, second = both_ways(*args, **kwargs)
    for a, b in zip(first, second, strict=True):
        close(a, b)


def forget():
    """Forget all functions that were compiled."""
    fused._found.cache_clear()
    fused._fused_function.cache_clear()


@pytest.fixture
def eager_backend(monkeypatch):
    """Graphs are captured as ever and then run by torch itself, so that none takes seconds."""
    torch._dynamo.reset()
    counters.clear()
    compile_ = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", compile_)
    forget()
    yield
    forget()
    torch._dynamo.reset()


PAIRS = [
    (MultiSimilarity(), MSMining()),
    (LiftedStructure(), EasyHardMining("semihard", "hard")),
    (Triplet(), None),
    (BinomialDeviance(), HardestNegatives(2)),
    (Contrastive(), DistanceWeightedMining(16)),
    (Constant(), PairMarginMining(0.8, 0.2)),
    (Focal(), NearerThanTheMean()),
    (MultiSimilarity(), BatchHardMining()),
]


@needs_compiler
@pytest.mark.parametrize(("weighting", "mining"), PAIRS, ids=repr)
def test_compiled_values_and_gradients(weighting, mining):
    """With the compiler that users have, whatever the sizes; means and single losses."""
    for n, m, chunk_size in SIZES:
        check_both_ways(weighting, mining, n, m, chunk_size)
    check_both_ways(weighting, mining, 24, None, 7, "none")
    check_both_ways(weighting, mining, 24, 40, None, "none")


@needs_compiler
def test_compiled_values_of_other_pairs_and_dtypes():
    rules = MultiSimilarity(), MSMining()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, None)):
        for n, m, chunk_size in SIZES[:5]:
            for a, b in zip(*both_ways(*rules, n, m, chunk_size, dtype=dtype), strict=True):
                close(a, b, *([] if tolerance is None else [tolerance]))
    tags = torch.eye(3)[torch.arange(24) % 3].bool()
    results = []
    for is_fused in (True, False):
        x = batch(24, None)[0][0]
        loss = gpw_loss(x, tags, *rules, pairs=share_a_label, fused=is_fused, chunk_size=10)
        results.append((loss.detach(), *torch.autograd.grad(loss, x)))
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-5)


@can_fuse
@pytest.mark.parametrize("mining", [None, *(case.mining for case in MINING_CASES)], ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.weighting))
def test_every_weighting_and_mining(case, mining, eager_backend):
    for n, m, chunk_size in SIZES[:5]:
        check_both_ways(case.weighting, mining, n, m, chunk_size)


@can_fuse
def test_no_size_and_no_number_makes_another_graph(eager_backend):
    """Of 20 pairs of classes in one process, two graphs each: a square and another chunk.

    Before torch 2.14 a number is a constant until it changes.
    """
    most = 2 if torch.__version__ >= (2, 14) else 2 + 4
    weightings = [
        [MultiSimilarity(), MultiSimilarity(3.5, 40, 0.1), MultiSimilarity(1, 10.0, 0)],
        [LiftedStructure(), LiftedStructure(2, 30.0, 0.4), LiftedStructure(1.5, 1, 0)],
        [BinomialDeviance(), BinomialDeviance(3, 40.0, 0.7), BinomialDeviance(1, 1, 0)],
        [Contrastive(), Contrastive(0.7), Contrastive(0)],
        [Focal(), Focal(3, 2), Focal(1.5, 1)],
    ]
    minings = [
        [None],
        [MSMining(), MSMining(0.3), MSMining(0)],
        [PairMarginMining(0.8, 0.2), PairMarginMining(1, 0)],
        [NearerThanTheMean(), NearerThanTheMean(0.1)],
    ]
    for several in weightings:
        for some in minings:
            before = counters["stats"]["unique_graphs"]
            for i in range(max(len(several), len(some))):
                weighting, mining = several[i % len(several)], some[i % len(some)]
                for n, m, chunk_size in SIZES:
                    leaves, labels, others = batch(n, m)
                    chosen = {"chunk_size": chunk_size, "fused": True}
                    gpw_loss(leaves[0], labels, weighting, mining, **others, **chosen)
            graphs = counters["stats"]["unique_graphs"] - before
            assert graphs <= most, (several[0], some[0])
    assert graphs > 0, "nothing was compiled"


@can_fuse
def test_losses_memories_and_second_walks(eager_backend):
    for make in (
        lambda f: MSLoss(fused=f),
        lambda f: CrossBatchMemory(MSLoss(fused=f), embedding_size=16, memory_size=60),
        lambda f: GPWLoss(Triplet(), BatchHardMining(), chunk_size=9, fused=f),
    ):
        results = []
        for is_fused in (True, False):
            loss, found = make(is_fused), []
            for seed in range(3):
                (x,), labels, _ = batch(30, None, torch.float32, seed)
                value = loss(x, labels)
                found += [value.detach(), *torch.autograd.grad(value, x)]
            results.append(found)
        assert counters["stats"]["unique_graphs"] > 0
        for a, b in zip(*results, strict=True):
            close(a, b, 1e-5)


@can_fuse
def test_bad_weights_are_named(eager_backend):
    (x,), labels, _ = batch(12, None)
    with pytest.raises(ValueError, match=r"weighting Focal must give weights >= 0, got a weight"):
        gpw_loss(x, labels, Focal(scale=-1.0), fused=True)
    with later():
        gpw_loss(x, labels, Focal(scale=-1.0), fused=True)
        with pytest.raises(ValueError, match=r"weighting Focal must give .* \(in call \d+ of \d+"):
            gpw_loss(x, labels, Focal(), fused=True)


@dataclass(frozen=True)
class Branching(PairWeighting):
    """A formula that no graph can hold: it asks for a value."""

    def weigh(self, pos, neg):
        bonus = 1.0 if float(neg.sim.sum()) > 0 else 2.0
        return PairWeights(bonus * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@can_fuse
def test_what_cannot_be_compiled_runs_eagerly_or_is_an_error(eager_backend, monkeypatch):
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))  # as on an accelerator
    (x,), labels, _ = batch(12, None)
    expected = gpw_loss(x, labels, Branching(), fused=False)
    for _ in range(2):
        close(gpw_loss(x, labels, Branching()), expected)
    with pytest.raises(fused.CannotFuse, match=r"fused=True: torch.compile cannot take Branching"):
        gpw_loss(x, labels, Branching(), fused=True)


def test_without_a_compiler(monkeypatch):
    def no_compiler(*args, **kwargs):
        from torch._dynamo.exc import TorchDynamoException

        raise TorchDynamoException("no C++ compiler was found")

    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    monkeypatch.setattr(fused, "LOWEST_TORCH", (2, 0))
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: no_compiler)
    forget()
    (x,), labels, _ = batch(12, None)
    expected = gpw_loss(x, labels, Focal(), fused=False)
    close(gpw_loss(x, labels, Focal()), expected)
    with pytest.raises(RuntimeError, match=r"fused=True: .* Focal.* no C\+\+ compiler was found"):
        gpw_loss(x, labels, Focal(), fused=True)
    forget()


def test_an_older_torch(monkeypatch):
    monkeypatch.setattr(fused, "LOWEST_TORCH", (99, 1))
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))
    (x,), labels, _ = batch(12, None)
    gpw_loss(x, labels, Focal())
    with pytest.raises(RuntimeError, match=r"fused=True needs torch >= 99.1, got"):
        MSLoss(fused=True)(x, labels)


@can_fuse
def test_warm_up_leaves_nothing_to_compile(eager_backend):
    warm_up(MultiSimilarity(), MSMining())
    loss = MSLoss(fused=True)
    loss.warm_up()
    before = counters["stats"]["unique_graphs"]
    assert before == 2
    for n, m, chunk_size in SIZES:
        loss.chunk_size = chunk_size
        leaves, labels, others = batch(n, m)
        loss(leaves[0], labels, None, *others.values())
    assert counters["stats"]["unique_graphs"] == before


def test_numbers_as_floats():
    """An integer where a float is annotated would be a constant of the graph."""
    assert fused._with_floats(MultiSimilarity(2, 50, 0)) == MultiSimilarity(2.0, 50.0, 0.0)
    assert type(fused._with_floats(MultiSimilarity(2, 50, 0)).alpha) is float
    assert fused._with_floats(HardestNegatives(k=3)).k == 3


@can_fuse
@pytest.mark.parametrize("value", ["yes", 1, 0.0])
def test_fused_must_be_a_boolean(value):
    (x,), labels, _ = batch(4, None)
    message = f"fused must be None, True or False, got {value!r}"
    with pytest.raises(ValueError, match=message):
        MSLoss(fused=value)
    with pytest.raises(ValueError, match=message):
        gpw_loss(x, labels, Constant(), fused=value)


@can_fuse
def test_no_more_than_a_chunk_is_held():
    """A dispatch mode runs the function without the compiler, so this is its template."""
    for references in (None, 300):
        (x, *_), labels, others = batch(200, references)
        with LargestTensor() as largest:
            loss = gpw_loss(x, labels, MultiSimilarity(), fused=True, chunk_size=16, **others)
            loss.backward()
        assert largest.numel <= 16 * (references or 200)


@can_fuse
def test_inside_a_compiled_step_it_is_dense(eager_backend):
    """One graph, without a break; what the user compiles is not compiled twice."""
    (x,), labels, _ = batch(12, None)
    expected = MSLoss()(x, labels)
    step = torch.compile(MSLoss(fused=True), fullgraph=True)
    close(step(x, labels), expected, 1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    assert fused._found.cache_info().currsize == 0
