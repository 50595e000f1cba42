"""What formulas and rules may return and do: made right, or an error that names its cause."""

from dataclasses import dataclass

import pytest
import torch

from pml_gpw import GPWLoss, PairMiner
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.mining import MSMining, PairMining, check_mining
from pml_gpw.weightings import (
    Contrastive,
    MultiSimilarity,
    PairWeighting,
    PairWeights,
    check_weighting,
)

from ..engine.batches import embed
from ..tolerances import close

LAYOUTS = ("dense", "sparse rows", "sparse batch")
X, LABELS = embed(40, 0, torch.float32)
ways = pytest.mark.parametrize("fused", [False, True])


@dataclass(frozen=True)
class Above(PairWeighting):
    """Weights of another dtype: 1 above a margin."""

    dtype: torch.dtype
    margin: float = 0.3

    def weigh(self, pos, neg):
        above = (neg.sim > self.margin).to(self.dtype)
        return PairWeights(torch.ones_like(pos.sim, dtype=self.dtype), above)


@ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.bool, torch.int64, torch.float16])
def test_weights_of_another_dtype_are_those_numbers(dtype, fused):
    x = X.clone().requires_grad_()
    loss = gpw_loss(x, LABELS, Above(dtype), fused=fused)
    (gradient,) = torch.autograd.grad(loss, x)
    (wanted,) = torch.autograd.grad(gpw_loss(x, LABELS, Contrastive(0.3)), x)
    close(gradient, wanted)
    for layout in LAYOUTS:
        streamed = GPWLoss(Above(dtype), MSMining(0.2), chunk_size=9)
        streamed.layout = layout
        close(streamed(X, LABELS), gpw_loss(X, LABELS, Above(dtype), MSMining(0.2)))
    check_weighting(Above(dtype))


class Returns(PairWeighting):
    def __init__(self, weights):
        object.__setattr__(self, "returned", weights)

    def weigh(self, pos, neg):
        return self.returned


@ways
@pytest.mark.parametrize(
    ("weights", "got"),
    [
        (PairWeights(1.0, 1.0), "positive weights as float"),
        (PairWeights(torch.ones(40, 40), 2), "negative weights as int"),
        (PairWeights(torch.ones(40, 40), torch.ones(40, 40) * 1j), "negative weights as torch.c"),
        ((torch.ones(40, 40), torch.ones(40, 40)), r"PairWeights\(pos, neg\), got tuple"),
    ],
)
def test_weights_that_are_none(weights, got, fused):
    with pytest.raises(ValueError, match=f"weighting Returns must return .*{got}"):
        gpw_loss(X, LABELS, Returns(weights), fused=fused)


@dataclass(frozen=True)
class ClampsInPlace(PairWeighting):
    def weigh(self, pos, neg):
        return PairWeights(torch.ones_like(pos.sim), neg.sim.clamp_(min=0.3))


@dataclass(frozen=True)
class MinesInPlace(PairMining):
    def select(self, pos, neg):
        pos.sim.mul_(2)
        return pos.sim > 0.1, neg.sim > 0.1


@dataclass(frozen=True)
class LossInPlace(MultiSimilarity):
    def evaluate(self, pos, neg):
        neg.sim.sub_(0.1)
        return super().evaluate(pos, neg)


@ways
@pytest.mark.parametrize("kind", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    ("weighting", "mining", "name"),
    [
        (ClampsInPlace(), None, "weighting ClampsInPlace"),
        (ClampsInPlace(), MSMining(), "weighting ClampsInPlace"),
        (LossInPlace(), None, "weighting LossInPlace"),
        (MultiSimilarity(), MinesInPlace(), "select of MinesInPlace"),
    ],
)
def test_similarities_that_are_changed_in_place(weighting, mining, name, kind, fused):
    with kind(), pytest.raises(ValueError, match=f"{name} must not change pos.sim or neg.sim"):
        gpw_loss(X.clone(), LABELS, weighting, mining, fused=fused)


def test_changes_in_place_are_refused_where_a_rule_is_given():
    """So a user's own compiled step, which notices none, never sees such a rule."""
    with pytest.raises(ValueError, match="weighting ClampsInPlace must not change"):
        GPWLoss(ClampsInPlace())
    with pytest.raises(ValueError, match="select of MinesInPlace must not change"):
        PairMiner(MinesInPlace())
    with pytest.raises(ValueError, match="must not change"):
        mine(X, LABELS, MinesInPlace())
    for check, rule in ((check_weighting, ClampsInPlace()), (check_mining, MinesInPlace())):
        with pytest.raises(ValueError, match=r"must not change pos\.sim"):
            check(rule)


TENSORS = [torch.tensor(2.0), torch.nn.Parameter(torch.tensor(2.0))]


@pytest.mark.parametrize("value", TENSORS, ids=lambda v: type(v).__name__)
def test_tensors_as_fields_are_no_way_to_train_them(value):
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

    message = rf"{type(value).__name__} as power of Focal.* trainable=\('power',\)"
    for call in (
        lambda: GPWLoss(Focal(value)),
        lambda: gpw_loss(X, LABELS, Focal(value)),
        lambda: check_weighting(Focal(value)),
        lambda: setattr(GPWLoss(Focal()), "weighting", Focal(value)),
        lambda: setattr(GPWLoss(Focal()), "power", value),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    message = rf"{type(value).__name__} as least of Nearer"
    for call in (
        lambda: PairMiner(Nearer(value)),
        lambda: gpw_loss(X, LABELS, Focal(), Nearer(value)),
        lambda: mine(X, LABELS, Nearer(value)),
        lambda: check_mining(Nearer(value)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_shipped_rules_refuse_tensors_too():
    """A number that is hidden in a tensor becomes that number."""
    for value in TENSORS:
        with pytest.raises(ValueError, match="alpha must be a finite number > 0, got"):
            MultiSimilarity(alpha=value)


def test_dataclasses_that_are_not_frozen():
    @dataclass
    class Loose(PairWeighting):
        margin: float = 0.3

        def weigh(self, pos, neg):
            return PairWeights(torch.ones_like(pos.sim), neg.sim.clamp(min=self.margin))

    @dataclass
    class LooseMining(PairMining):
        def select(self, pos, neg):
            return pos.sim == pos.sim, neg.sim == neg.sim

    for call in (lambda: check_weighting(Loose()), lambda: GPWLoss(Loose())):
        with pytest.raises(ValueError, match=r"@dataclass\(frozen=True\) above the class Loose"):
            call()
    for call in (lambda: check_mining(LooseMining()), lambda: PairMiner(LooseMining())):
        with pytest.raises(ValueError, match="frozen=True"):
            call()
