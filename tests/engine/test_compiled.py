"""Rows through torch.compile: values, how many graphs, and what happens where it does not work."""

import gc
import math
import shutil
import warnings
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

from pml_gpw import GPWLoss, MSLoss, mining, weightings
from pml_gpw.engine import InnerProduct, LabelPairs, PairBatch, Plan, compiled
from pml_gpw.engine.dense import sum_dense
from pml_gpw.engine.plan import choose_program
from pml_gpw.engine.unit_rows import unit_rows
from pml_gpw.functional import gpw_loss, warm_up
from pml_gpw.mining import MSMining, PairMining
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights
from pml_gpw.weightings.rules import float_fields

from ..cases import EVERY_CASE, MINING_CASES
from ..covering import covering, named
from ..runs import close_runs, eager_compiler
from ..tolerances import close

SIZES = [  # N, M (None: among themselves), chunk size: after a square and another chunk, any other
    (24, None, None),
    (33, None, 8),
    (24, 40, None),
    (50, None, None),
    (17, 64, 5),
    (9, 9, None),
    (130, None, 129),  # a last chunk of one row
]


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


@pytest.fixture
def eager_backend():
    """One test alone without a compiler."""
    with eager_compiler():
        yield


def batch(n, m=None, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 16, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(6, (n,), generator=generator)
    if m is None:
        return (x,), labels, {}
    y = torch.randn(m, 16, generator=generator, dtype=dtype).requires_grad_()
    others = torch.randint(6, (m,), generator=generator)
    return (x, y), labels, {"references": y, "reference_labels": others}


def check_both_ways(weighting, mining=None, n=24, m=None, chunk_size=None, reduction="mean"):
    """The loss and its gradients are the same, fused and not."""
    results = []
    for is_fused in (True, False):
        leaves, labels, others = batch(n, m, torch.float64)
        torch.manual_seed(5)  # for the keys of random rules
        chosen = {"reduction": reduction, "chunk_size": chunk_size, "fused": is_fused}
        losses = gpw_loss(leaves[0], labels, weighting, mining, **others, **chosen)
        scale = torch.arange(1, 1 + losses.numel()).view(losses.shape)
        results.append((losses.detach(), *torch.autograd.grad((losses * scale).sum(), leaves)))
    close_runs(*results)


def graphs():
    return counters["stats"]["unique_graphs"]


PAIRS = [
    (MultiSimilarity(), MSMining()),
    (weightings.LiftedStructure(), mining.EasyHardMining("semihard", "hard")),
    (weightings.Contrastive(), mining.DistanceWeightedMining(16)),
    (Focal(), NearerThanTheMean()),
]
every_pair = pytest.mark.parametrize("rules", covering(PAIRS, one_in=1, quick=4), ids=repr)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@every_pair
def test_compiled_values_and_gradients(rules):
    """With the compiler that users have, whatever the sizes; means and single losses."""
    for size in SIZES[:4]:
        check_both_ways(*rules, *size)
    check_both_ways(*rules, 24, 40, None, "none")


@pytest.mark.parametrize(
    ("case", "mining"),
    covering(EVERY_CASE, [None, *(c.mining for c in MINING_CASES)], one_in=7, quick=13),
    ids=named,
)
def test_every_weighting_and_mining(case, mining, eager_backend):
    for size in SIZES[:4]:
        check_both_ways(case.weighting, mining, *size)


@every_pair
def test_no_size_and_no_number_makes_another_graph(rules, eager_backend):
    """Three graphs for a pair of classes: a whole batch with itself, a square chunk and another."""
    others = [replace(r, **{k: v / 2 for k, v in float_fields(r).items()}) for r in rules]
    for pair in (rules, others):
        for n, m, chunk_size in SIZES:
            leaves, labels, given = batch(n, m)
            gpw_loss(leaves[0], labels, *pair, **given, chunk_size=chunk_size, fused=True)
    assert 0 < graphs() <= 3


def test_no_value_of_a_float_field_makes_another_graph(eager_backend):
    """A power is a constant of a graph as a number, and is none as a tensor."""
    for power in (2.0, 3.0, 0.5, 1.7, 1.0):
        check_both_ways(Focal(power, 1.5), NearerThanTheMean(power / 10))
    assert graphs() == 1


NEED_NUMBERS = {
    "branches": lambda t, sim: torch.ones_like(sim) if t > 0.4 else (sim > t).to(sim.dtype),
    "mathematics": lambda t, sim: math.exp(t) * torch.ones_like(sim),
    "scalar argument": lambda t, sim: torch.nn.functional.softplus(sim, beta=t),
    "filled": lambda t, sim: torch.full_like(sim, t),  # a tensor is taken in silence
    "asks": lambda t, sim: sim.clamp(min=0) * t if isinstance(t, float) else 1 / 0,
}


@dataclass(frozen=True)
class NeedsNumbers(PairWeighting):
    how: str
    margin: float = 0.3

    def weigh(self, pos, neg):
        return PairWeights(torch.ones_like(pos.sim), NEED_NUMBERS[self.how](self.margin, neg.sim))


@pytest.mark.parametrize("how", NEED_NUMBERS)
def test_formulas_that_need_numbers_are_compiled_with_numbers(how, eager_backend):
    for margin in (0.3, 0.6):
        check_both_ways(NeedsNumbers(how, margin), MSMining(margin))
    assert graphs() > 0
    functions = [f for f in gc.get_objects() if type(f) is compiled.CompiledFunction]
    assert not any(f._cannot for f in functions)


def test_bad_weights_are_named(eager_backend):
    (x,), labels, _ = batch(12)
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


def no_compiler(said, *args, **kwargs):
    raise TorchDynamoException(said)


@pytest.mark.parametrize(
    ("weighting", "said", "why"),
    [
        (Branching(), None, ""),
        (Focal(), "no C compiler was found", "no C compiler was found"),
        (Focal(), "", "TorchDynamoException"),
    ],
)
def test_what_cannot_be_compiled_runs_eagerly_or_is_an_error(
    weighting, said, why, eager_backend, monkeypatch
):
    if said is not None:
        monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: partial(no_compiler, said))
    (x,), labels, _ = batch(12)
    pairs = LabelPairs(labels, labels, torch.arange(12), symmetric=True)
    asked = PairBatch(x, x, pairs), weighting, None, InnerProduct(), Plan(fused=True)
    unit, program = unit_rows(x.detach()), choose_program(*asked)
    expected = gpw_loss(x, labels, weighting, fused=False, reduction="none")
    for _ in range(2):  # as on an accelerator, where nobody has asked
        found = sum_dense(unit, unit, program._replace(is_strict=False), (False, False), None)
        close(found.losses, expected)
    message = f"fused=True: torch.compile cannot take {type(weighting).__name__}.*{why}"
    with pytest.raises(compiled.CannotFuse, match=message):
        gpw_loss(x, labels, weighting, fused=True)


def test_warm_up_compiles_nothing_for_what_is_not_streamed(eager_backend):
    for distance in (LpDistance(), CosineSimilarity(power=2)):
        GPWLoss(MultiSimilarity(), MSMining(), distance=distance).warm_up()
    assert graphs() == 0
    GPWLoss(MultiSimilarity(), similarity="dot").warm_up()
    assert graphs() == 4, "no graph of a whole batch"


def test_warm_up_leaves_nothing_to_compile(eager_backend):
    warm_up(MultiSimilarity(), MSMining())
    loss = MSLoss(fused=True)
    loss.warm_up()
    assert graphs() == 5
    for n, m, chunk_size in SIZES:
        loss.chunk_size = chunk_size
        leaves, labels, others = batch(n, m)
        loss(leaves[0], labels, None, *others.values())
    assert graphs() == 5


def scaled(factor, pos, neg):
    return PairWeights(factor * torch.ones_like(pos.sim), torch.ones_like(neg.sim))


@dataclass(eq=False)
class Mutable(PairWeighting):
    factor: float = 1

    def weigh(self, pos, neg):
        return scaled(self.factor, pos, neg)


def test_rules_that_are_the_same_and_not_equal_to_themselves_before(eager_backend):
    rule = Mutable()
    for rule.factor in (1, 3.0, 2):
        check_both_ways(rule)


class Long(PairWeighting):
    """Another graph for each length of a list."""

    def __init__(self, length):
        self.factors = [1.0] * length

    def weigh(self, pos, neg):
        return scaled(sum(self.factors), pos, neg)


def test_more_graphs_than_torch_allows(eager_backend):
    """Said once, and computed without the compiler."""
    few = torch._dynamo.config.patch(cache_size_limit=2)
    with few, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for length in range(1, 6):
            check_both_ways(Long(length))
    assert sum("as many graphs as torch allows" in str(w.message) for w in caught) == 1


class Wrong(PairWeighting):
    def weigh(self, pos, neg):
        raise ValueError("my own error")


@pytest.mark.parametrize("fused", [True, False])
def test_errors_of_a_formula_are_its_own(fused, eager_backend):
    (x,), labels, _ = batch(12)
    with pytest.raises(ValueError, match="my own error"):
        gpw_loss(x, labels, Wrong(), fused=fused)


def test_nothing_is_kept_alive(eager_backend):
    """Not the similarities of a failed attempt, nor the tensors of a rule."""
    (x,), labels, _ = batch(12)
    with pytest.raises(compiled.CannotFuse):
        gpw_loss(x, labels, Branching(), fused=True)
    gc.collect()
    tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor and not t.is_nested]
    assert not [t for t in tensors if t.shape == (12, 12)]


def test_inside_a_compiled_step_it_is_dense(eager_backend):
    """One graph, without a break; what the user compiles is not compiled twice."""
    (x,), labels, _ = batch(12)
    expected = MSLoss()(x, labels)
    step = torch.compile(MSLoss(fused=True), fullgraph=True)
    close(step(x, labels), expected, 1e-5)
    assert graphs() == 1
    assert compiled._compiled_function.cache_info().currsize == 0
