"""Subclasses of shipped rules get what they wrote, never a mixture with what they inherit."""

from dataclasses import dataclass

import pytest
import torch

from pml_gpw import GPWLoss
from pml_gpw.functional import gpw_loss, mine
from pml_gpw.mining import MSMining, PairMining
from pml_gpw.weightings import Constant, MultiSimilarity, PairWeighting, PairWeights, RowLoss
from pml_gpw.weightings.check import check_weighting

from ..cases import EVERY_CASE, MINING_CASES
from ..engine.batches import embed
from ..oracles import pairs_of
from ..tolerances import close

WEIGHTINGS = [case.weighting for case in EVERY_CASE]
MININGS = {type(case.mining): case.mining for case in MINING_CASES}.values()


def twice(parent):
    """A subclass whose weights are twice those of its parent."""

    class Twice(type(parent)):
        def weigh(self, pos, neg):
            return PairWeights(*(2 * weights for weights in super().weigh(pos, neg)))

    return dataclass(frozen=True)(Twice)(*vars(parent).values())


@pytest.mark.parametrize("parent", WEIGHTINGS, ids=repr)
@pytest.mark.parametrize("n", [30, pytest.param(300, marks=pytest.mark.exhaustive)])
def test_weights_that_are_overridden_alone(parent, n):
    """The loss is eq 3 of the weights that were written; ``super().weigh`` is the parent's."""
    x, labels = embed(n, 0, torch.float64)
    sim, masks = x @ x.T, pairs_of(labels)
    rule = twice(parent)
    expected = parent.weights(sim, *masks)
    for a, b in zip(rule.weights(sim, *masks), expected, strict=True):
        close(a, 2 * b)
    x = x.requires_grad_()
    similarity = "cosine" if parent.of_unit_rows else "dot"
    losses = gpw_loss(x, labels, rule, reduction="none", similarity=similarity)
    close(losses, 2 * ((expected.neg - expected.pos) * sim).sum(dim=1))
    whole = 2 * gpw_loss(x, labels, parent, reduction="sum", similarity=similarity)
    close(torch.autograd.grad(losses.sum(), x)[0], torch.autograd.grad(whole, x)[0])
    check_weighting(rule)


def test_losses_that_are_overridden_alone():
    """``super().evaluate`` is the parent's too, and weights follow from what was written."""

    @dataclass(frozen=True)
    class Focal(PairWeighting):
        def weigh(self, pos, neg):
            return PairWeights((1 - pos.sim).clamp(min=0), neg.sim.clamp(min=0))

    @dataclass(frozen=True)
    class Halved(Focal):
        def evaluate(self, pos, neg):
            losses, weights = super().evaluate(pos, neg)
            return losses / 2, PairWeights(*(w / 2 for w in weights))

    x, labels = embed(20, 0, torch.float64)
    rows = x @ x.T, *pairs_of(labels)
    close(Halved().losses(*rows), Focal().losses(*rows) / 2)
    for a, b in zip(Halved().weights(*rows), Focal().weights(*rows), strict=True):
        close(a, b / 2)
    check_weighting(Halved())


def test_a_mixin_counts_as_what_it_stands_before():
    class Ones:
        def weigh(self, pos, neg):
            return PairWeights(torch.ones_like(pos.sim), torch.ones_like(neg.sim))

    @dataclass(frozen=True)
    class Mixed(Ones, MultiSimilarity):
        pass

    x, labels = embed(20, 0, torch.float64)
    close(gpw_loss(x, labels, Mixed()), gpw_loss(x, labels, Constant()))


@pytest.mark.parametrize(
    ("base", "method"),
    [(PairWeighting, "weigh or evaluate"), (RowLoss, "loss"), (PairMining, "select")],
)
def test_a_rule_without_a_formula_is_refused(base, method):
    with pytest.raises(TypeError, match=f"Nothing must override {method}"):
        type("Nothing", (base,), {})


def everything(parent):
    """A subclass of a mining that keeps all pairs."""

    class Everything(type(parent)):
        def select(self, pos, neg):
            return torch.ones_like(pos.sim, dtype=bool), torch.ones_like(neg.sim, dtype=bool)

    return dataclass(frozen=True)(Everything)(*vars(parent).values())


@pytest.mark.parametrize("parent", MININGS, ids=repr)
@pytest.mark.parametrize("n", [180, 182])
def test_a_rule_that_is_overridden_alone(parent, n):
    """It has no bound of its parent's: at N = 182 the engine begins to look for few pairs."""
    x, labels = embed(n, 0, torch.float64)
    rule = everything(parent)
    expected = gpw_loss(x, labels, MultiSimilarity())
    for layout in ("auto", "dense", "sparse rows", "sparse batch"):
        loss = GPWLoss(MultiSimilarity(), rule, chunk_size=64)
        loss.layout = layout
        close(loss(x, labels), expected)
    assert [len(index) for index in mine(x, labels, rule)] == [
        len(index) for mask in pairs_of(labels) for index in mask.nonzero(as_tuple=True)
    ]


def test_a_bound_of_its_own_is_kept():
    @dataclass(frozen=True)
    class Above(MSMining):
        def select(self, pos, neg):
            return pos.sim == pos.sim, neg.sim > self.epsilon

        def negative_lower_bound(self, hardest_pos):
            return torch.full_like(hardest_pos, self.epsilon)

    @dataclass(frozen=True)
    class Named(Above):
        pass

    some = torch.zeros(3)
    assert Above(0.3).negative_lower_bound(some).eq(0.3).all()
    assert Named(0.3).negative_lower_bound(some).eq(0.3).all()
    assert everything(MSMining()).negative_lower_bound(some) is None


def test_the_letters_are_read_and_declared_under_both_names():
    old = type("Old", (MSMining,), {"similarities": frozenset("N")})
    assert (old.uses, MSMining.uses) == (frozenset("N"), frozenset("P"))
    for cls in (MSMining, MultiSimilarity):
        assert cls.similarities == cls.uses
