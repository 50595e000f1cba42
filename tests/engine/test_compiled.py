"""Rows through torch.compile: values, how many graphs, and what happens where it does not work."""

import gc
import math
import shutil
import warnings
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from pytorch_metric_learning.distances import (
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
)
from torch._dynamo.utils import counters

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import compiled
from pml_gpw.engine import plan as plans
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
from pml_gpw.value_checks import deferred_checks
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

from ..cases import CASES, FIELD_CASES, MINING_CASES
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


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
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
    compiled._compiled_function.cache_clear()


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


@pytest.mark.parametrize("mining", [None, *(case.mining for case in MINING_CASES)], ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.weighting))
def test_every_weighting_and_mining(case, mining, eager_backend):
    for n, m, chunk_size in SIZES[:5]:
        check_both_ways(case.weighting, mining, n, m, chunk_size)


@pytest.mark.parametrize("mining", [None, MSMining()], ids=repr)
@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda case: repr(case.weighting))
def test_every_loss_of_the_field(case, mining, eager_backend):
    for n, m, chunk_size in SIZES[:5]:
        check_both_ways(case.weighting, mining, n, m, chunk_size)


def test_no_size_and_no_number_makes_another_graph(eager_backend):
    """Of 20 pairs of classes in one process, three graphs each: a whole batch with itself, a square
    chunk and another one."""
    most = 3
    weightings = [
        [MultiSimilarity(), MultiSimilarity(3.5, 40, 0.1), MultiSimilarity(1, 10.0, 0)],
        [LiftedStructure(), LiftedStructure(2, 30.0, 0.4), LiftedStructure(1.5, 1, 0)],
        [BinomialDeviance(), BinomialDeviance(3, 40.0, 0.7), BinomialDeviance(1, 1, 0)],
        [Contrastive(), Contrastive(0.7), Contrastive(0)],
        [Focal(), Focal(3.0, 2.0), Focal(1.5, 1.0)],
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


def test_no_value_of_a_float_field_makes_another_graph(eager_backend):
    """A power is a constant of a graph as a number, and is none as a tensor."""
    for power in (2.0, 3.0, 0.5, 1.7, 1.0, 4.2, 2.5, 3.3, 1.1, 0.1):
        check_both_ways(Focal(power, 1.5), NearerThanTheMean(power / 10), 24, None, None)
    assert counters["stats"]["unique_graphs"] == 1


@dataclass(frozen=True)
class Branches(PairWeighting):
    """A formula that needs its field as a number."""

    margin: float = 0.3

    def weigh(self, pos, neg):
        ones = torch.ones_like(pos.sim)
        if self.margin > 0.4:
            return PairWeights(ones, torch.ones_like(neg.sim))
        return PairWeights(ones, (neg.sim > self.margin).to(neg.sim.dtype))


@dataclass(frozen=True)
class Mathematics(Branches):
    def weigh(self, pos, neg):
        factor = math.exp(self.margin)
        return PairWeights(factor * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@dataclass(frozen=True)
class ScalarArgument(Branches):
    def weigh(self, pos, neg):
        soft = torch.nn.functional.softplus(neg.sim, beta=self.margin)
        return PairWeights(torch.ones_like(pos.sim), soft)


@dataclass(frozen=True)
class Filled(Branches):
    """A formula that takes a tensor in silence where it means a number."""

    def weigh(self, pos, neg):
        return PairWeights(torch.full_like(pos.sim, self.margin), torch.ones_like(neg.sim))


@dataclass(frozen=True)
class AsksForFloats(Branches):
    def weigh(self, pos, neg):
        if not isinstance(self.margin, float):
            raise TypeError("margin must be a float")
        return PairWeights(self.margin * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@pytest.mark.parametrize("cls", [Branches, Mathematics, ScalarArgument, Filled, AsksForFloats])
def test_formulas_that_need_numbers_are_compiled_with_numbers(cls, eager_backend):
    for margin in (0.3, 0.6, 0.1):
        check_both_ways(cls(margin), MSMining(margin), 24, None, None)
    assert counters["stats"]["unique_graphs"] > 0
    assert not any(f._cannot for f in compiled_functions())


def compiled_functions():
    return [f for f in gc.get_objects() if type(f) is compiled.CompiledFunction]


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


def test_bad_weights_are_named(eager_backend):
    (x,), labels, _ = batch(12, None)
    with pytest.raises(ValueError, match=r"weighting Focal must give weights >= 0, got a weight"):
        gpw_loss(x, labels, Focal(scale=-1.0), fused=True)
    with deferred_checks():
        gpw_loss(x, labels, Focal(scale=-1.0), fused=True)
        with pytest.raises(ValueError, match=r"weighting Focal must give .* \(in call \d+ of \d+"):
            gpw_loss(x, labels, Focal(), fused=True)


@dataclass(frozen=True)
class Branching(PairWeighting):
    """A formula that no graph can hold: it asks for a value."""

    def weigh(self, pos, neg):
        bonus = 1.0 if float(neg.sim.sum()) > 0 else 2.0
        return PairWeights(bonus * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


def test_what_cannot_be_compiled_runs_eagerly_or_is_an_error(eager_backend, monkeypatch):
    monkeypatch.setattr(plans, "DEVICES", ("cpu",))  # as on an accelerator
    (x,), labels, _ = batch(12, None)
    expected = gpw_loss(x, labels, Branching(), fused=False)
    for _ in range(2):
        close(gpw_loss(x, labels, Branching()), expected)
    with pytest.raises(
        compiled.CannotFuse, match=r"fused=True: torch.compile cannot take Branching"
    ):
        gpw_loss(x, labels, Branching(), fused=True)


def test_without_a_compiler(monkeypatch):
    def no_compiler(*args, **kwargs):
        from torch._dynamo.exc import TorchDynamoException

        raise TorchDynamoException("no C++ compiler was found")

    monkeypatch.setattr(plans, "DEVICES", ("cpu",))
    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: no_compiler)
    forget()
    (x,), labels, _ = batch(12, None)
    expected = gpw_loss(x, labels, Focal(), fused=False)
    close(gpw_loss(x, labels, Focal()), expected)
    with pytest.raises(RuntimeError, match=r"fused=True: .* Focal.* no C\+\+ compiler was found"):
        gpw_loss(x, labels, Focal(), fused=True)
    forget()


def test_warm_up_compiles_nothing_for_what_is_not_streamed(eager_backend):
    for distance in (LpDistance(), CosineSimilarity(power=2), SNRDistance()):
        GPWLoss(MultiSimilarity(), MSMining(), distance=distance).warm_up()
    assert counters["stats"]["unique_graphs"] == 0
    GPWLoss(MultiSimilarity(), distance=DotProductSimilarity(normalize_embeddings=False)).warm_up()
    assert counters["stats"]["unique_graphs"] == 4, "no graph of a whole batch"


def test_warm_up_leaves_nothing_to_compile(eager_backend):
    warm_up(MultiSimilarity(), MSMining())
    loss = MSLoss(fused=True)
    loss.warm_up()
    before = counters["stats"]["unique_graphs"]
    assert before == 5
    for n, m, chunk_size in SIZES:
        loss.chunk_size = chunk_size
        leaves, labels, others = batch(n, m)
        loss(leaves[0], labels, None, *others.values())
    assert counters["stats"]["unique_graphs"] == before


def test_numbers_are_floats():
    """An integer where a float is annotated would be a constant of the graph."""
    assert type(MultiSimilarity(2, 50, 0).alpha) is float
    assert type(MSMining(0).epsilon) is float
    assert LiftedStructure(margin=None).margin is None


@dataclass(frozen=True)
class Hidden(PairWeighting):
    """Equal to others of its class whatever its factor is."""

    factor: float = field(default=1.0, compare=False)

    def weigh(self, pos, neg):
        ones = torch.ones_like(pos.sim)
        return PairWeights(self.factor * ones, torch.ones_like(neg.sim))


class Scaled(MultiSimilarity):
    """A subclass with something beside the fields."""

    def __init__(self, factor):
        super().__init__(2, 50, 0)
        object.__setattr__(self, "factor", factor)

    def evaluate(self, pos, neg):
        losses, weights = super().evaluate(pos, neg)
        return self.factor * losses, PairWeights(*(self.factor * w for w in weights))


@dataclass(eq=False)
class Mutable(PairWeighting):
    factor: float = 1

    def weigh(self, pos, neg):
        ones = torch.ones_like(pos.sim)
        return PairWeights(self.factor * ones, torch.ones_like(neg.sim))


@dataclass(frozen=True)
class ByType(PairWeighting):
    flag: object = False

    def weigh(self, pos, neg):
        factor = 3.0 if isinstance(self.flag, bool) else 1.0
        return PairWeights(factor * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


def test_rules_that_are_equal_and_not_the_same(eager_backend):
    for several in (
        [Hidden(1.0), Hidden(3.0), Hidden(-0.0)],
        [Scaled(1.0), Scaled(3.0)],
        [ByType(False), ByType(0), ByType(0.0)],
    ):
        for weighting in several:
            check_both_ways(weighting, None, 24, None, None)
    rule = Mutable()
    for factor in (1, 4.0, 2):
        rule.factor = factor
        check_both_ways(rule, None, 24, None, None)


class Long(PairWeighting):
    """Another graph for each length of a list."""

    def __init__(self, length):
        self.factors = [1.0] * length

    def weigh(self, pos, neg):
        return PairWeights(sum(self.factors) * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


def test_more_graphs_than_torch_allows(eager_backend):
    """Said once, and computed without the compiler."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for length in range(1, 12):
            check_both_ways(Long(length), None, 24, None, None)
    assert sum("as many graphs as torch allows" in str(w.message) for w in caught) == 1


class Wrong(PairWeighting):
    def weigh(self, pos, neg):
        raise ValueError("my own error")


def test_errors_of_a_formula_are_its_own(eager_backend):
    (x,), labels, _ = batch(12, None)
    for is_fused in (True, False):
        with pytest.raises(ValueError, match="my own error"):
            gpw_loss(x, labels, Wrong(), fused=is_fused)


def test_nothing_is_kept_alive(eager_backend):
    """Not the similarities of a failed attempt, nor the tensors of a rule."""
    (x,), labels, _ = batch(12, None)
    with pytest.raises(compiled.CannotFuse):
        gpw_loss(x, labels, Branching(), fused=True)
    gc.collect()
    tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor and not t.is_nested]
    kept = [t for t in tensors if t.shape == (12, 12)]
    assert not kept


def test_no_whole_matrix_where_no_gradient_is_formed(eager_backend):
    (x,), labels, _ = batch(3000, None)
    with torch.no_grad(), LargestTensor() as largest:
        gpw_loss(x, labels, Constant(), fused=True)
    assert largest.numel < 3000**2


@pytest.mark.parametrize("value", ["yes", 1, 0.0])
def test_fused_must_be_a_boolean(value):
    (x,), labels, _ = batch(4, None)
    message = f"fused must be None, True or False, got {value!r}"
    with pytest.raises(ValueError, match=message):
        MSLoss(fused=value)
    with pytest.raises(ValueError, match=message):
        gpw_loss(x, labels, Constant(), fused=value)


def test_no_more_than_a_chunk_is_held():
    """A dispatch mode runs the function without the compiler, so this is its template."""
    for references in (None, 300):
        (x, *_), labels, others = batch(200, references)
        with LargestTensor() as largest:
            loss = gpw_loss(x, labels, MultiSimilarity(), fused=True, chunk_size=16, **others)
            loss.backward()
        assert largest.numel <= 16 * (references or 200)


def test_inside_a_compiled_step_it_is_dense(eager_backend):
    """One graph, without a break; what the user compiles is not compiled twice."""
    (x,), labels, _ = batch(12, None)
    expected = MSLoss()(x, labels)
    step = torch.compile(MSLoss(fused=True), fullgraph=True)
    close(step(x, labels), expected, 1e-5)
    assert counters["stats"]["unique_graphs"] == 1
    assert compiled._compiled_function.cache_info().currsize == 0
