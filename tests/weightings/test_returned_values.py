"""What formulas and rules may return and do: made right, or an error that names its cause."""

from dataclasses import dataclass

import pytest
import torch

from pml_gpw import GPWLoss, PairMiner
from pml_gpw.engine import dense_losses
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.mining import MSMining, PairMining, check_mining
from pml_gpw.weightings import Contrastive, DenseRows, MultiSimilarity, PairWeighting, PairWeights
from pml_gpw.weightings.base import evaluated
from pml_gpw.weightings.check import check_weighting, example_rows

from ..engine.batches import embed
from ..oracles import pairs_of
from ..tolerances import close

LAYOUTS = ("dense", "sparse rows", "sparse batch")
X, LABELS = embed(40, 0, torch.float32)
ways = pytest.mark.parametrize("fused", [False, True])
pytestmark = pytest.mark.usefixtures("eager_backend")


@dataclass(frozen=True)
class Returns(PairWeighting):
    formula: object

    def weigh(self, pos, neg):
        return self.formula(pos.sim, neg.sim)


@ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.bool, torch.int64, torch.float16])
def test_weights_of_another_dtype_are_those_numbers(dtype, fused):
    rule = Returns(lambda p, n: PairWeights(torch.ones_like(p, dtype=dtype), (n > 0.3).to(dtype)))
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gpw_loss(x, LABELS, rule, fused=fused), x)
    (wanted,) = torch.autograd.grad(gpw_loss(x, LABELS, Contrastive(0.3)), x)
    close(gradient, wanted)
    for layout in LAYOUTS:
        streamed = GPWLoss(rule, MSMining(0.2), chunk_size=9)
        streamed.layout = layout
        close(streamed(X, LABELS), gpw_loss(X, LABELS, rule, MSMining(0.2)))
    check_weighting(rule)


@ways
@pytest.mark.parametrize(
    ("formula", "got"),
    [
        (lambda p, n: PairWeights(1.0, 1.0), "tensors of real numbers, got positive weights as fl"),
        (lambda p, n: PairWeights(p + 2, 2), "negative weights as int"),
        (lambda p, n: PairWeights(p + 2, n * 1j), "negative weights as torch.c"),
        (lambda p, n: PairWeights(p[0], n + 2), r"a value for each pair, .* \(40,\) .* by expand"),
        (lambda p, n: (p + 2, n + 2), r"PairWeights\(pos, neg\), got tuple"),
        (lambda p, n: n + 2, r"PairWeights\(pos, neg\), got Tensor"),
    ],
)
def test_what_is_no_weight_is_named(formula, got, fused):
    with pytest.raises(ValueError, match=f"weighting Returns must return .*{got}"):
        gpw_loss(X, LABELS, Returns(formula), fused=fused)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("neg", "got"), [(-5, "a weight of -"), (float("nan"), "NaN")])
@pytest.mark.parametrize("mining", [None, MSMining(0.1)], ids=repr)
def test_weights_that_are_negative_or_nan(neg, got, layout, mining):
    wrong = Returns(lambda p, n: PairWeights(p + 2, n + neg))
    loss = GPWLoss(wrong, mining, chunk_size=5)
    loss.layout = layout
    message = f"weighting Returns must give weights >= 0, got {got}"
    with pytest.raises(ValueError, match=message):
        loss(X.clone().requires_grad_(), LABELS)
    with pytest.raises(ValueError, match=message):
        dense_losses(X @ X.T, *pairs_of(LABELS), wrong)


SIM, MASK = torch.rand(3, 4), torch.ones(3, 4).bool()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SIM, MASK[:2], MASK), r"pos must be a tensor of \(3, 4\) booleans, got .* \(2, 4\)"),
        ((SIM, MASK, MASK.float()), "neg must be a tensor of .* booleans, got torch.float32"),
        ((SIM * torch.nan, MASK, ~MASK), "sim must be numbers, got NaN in 12 places"),
        ((SIM.long(), MASK, ~MASK), "sim must be a floating-point tensor .C, M., got torch.int64"),
        ((SIM[0], MASK, ~MASK), r"sim must be a floating-point tensor .C, M., got .* \(4,\)"),
        ((SIM.tolist(), MASK, ~MASK), "sim must be a floating-point tensor .C, M., got list"),
    ],
)
def test_matrices_are_checked(arguments, message):
    for function in (MultiSimilarity().weights, MultiSimilarity().losses, MSMining()):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


@dataclass(frozen=True)
class ClampsInPlace(PairWeighting):
    def weigh(self, pos, neg):
        return PairWeights(torch.ones_like(pos.sim), neg.sim.clamp_(min=0.3))


@dataclass(frozen=True)
class MinesInPlace(PairMining):
    def select(self, pos, neg):
        pos.sim.mul_(2)
        return pos.sim > 0.1, neg.sim > 0.1


@ways
@pytest.mark.parametrize("kind", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    ("weighting", "mining", "name"),
    [
        (ClampsInPlace(), MSMining(), "weighting ClampsInPlace"),
        (ClampsInPlace(), None, "weighting ClampsInPlace"),
        (MultiSimilarity(), MinesInPlace(), "select of MinesInPlace"),
    ],
)
def test_similarities_that_are_changed_in_place(weighting, mining, name, kind, fused):
    with kind(), pytest.raises(ValueError, match=f"{name} must not change pos.sim or neg.sim"):
        gpw_loss(X.clone(), LABELS, weighting, mining, fused=fused)


TENSORS = [torch.tensor(2.0), torch.nn.Parameter(torch.tensor(2.0))]


@dataclass(frozen=True)
class Focal(PairWeighting):
    power: object = 2.0

    def weigh(self, pos, neg):
        return PairWeights((1 - pos.sim) ** self.power, neg.sim.clamp(min=0) ** self.power)


@dataclass(frozen=True)
class Nearer(PairMining):
    least: object = 0.0

    def select(self, pos, neg):
        return pos.sim == pos.sim, neg.sim > self.least


Loose = dataclass(type("Loose", (PairWeighting,), {"weigh": Focal.weigh}))
LooseMining = dataclass(type("LooseMining", (PairMining,), {"select": Nearer.select}))
WEIGHTING_GIVEN = (
    check_weighting,
    GPWLoss,
    lambda rule: gpw_loss(X, LABELS, rule),
    lambda rule: setattr(GPWLoss(Focal()), "weighting", rule),
)
MINING_GIVEN = (
    check_mining,
    PairMiner,
    lambda rule: mine(X, LABELS, rule),
    lambda rule: gpw_loss(X, LABELS, Focal(), rule),
)
POWER = r"{} as power of Focal.* trainable=\('power',\)"


@pytest.mark.parametrize(
    ("calls", "rule", "message"),
    [
        *((WEIGHTING_GIVEN, Focal(t), POWER.format(type(t).__name__)) for t in TENSORS),
        *((MINING_GIVEN, Nearer(t), f"{type(t).__name__} as least of Nearer") for t in TENSORS),
        (WEIGHTING_GIVEN[:2], ClampsInPlace(), "weighting ClampsInPlace must not change pos.sim"),
        (MINING_GIVEN, MinesInPlace(), "select of MinesInPlace must not change pos.sim"),
        (WEIGHTING_GIVEN[:2], Loose(), r"@dataclass\(frozen=True\) above the class Loose"),
        (MINING_GIVEN[:2], LooseMining(), r"@dataclass\(frozen=True\) above the class Loose"),
    ],
)
def test_a_rule_is_refused_where_it_is_given(calls, rule, message):
    """No tensors, which nothing would train; no changes in place, which a graph does not see."""
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(rule)


def test_a_change_in_place_is_refused_where_it_happens():
    with pytest.raises(ValueError, match=r"weighting ClampsInPlace must not change pos.sim"):
        evaluated(ClampsInPlace(), *example_rows(0).as_layout(DenseRows))


def test_a_field_that_is_set_to_a_tensor_is_refused():
    for value in TENSORS:
        with pytest.raises(ValueError, match=POWER.format(type(value).__name__)):
            GPWLoss(Focal()).power = value
