"""The means of the field, against plain formulas and PML's losses."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from pytorch_metric_learning import losses, reducers
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance

from pml_gpw import GPWLoss
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import gpw_loss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import AnchorReducer
from pml_gpw.reductions import REDUCTIONS
from pml_gpw.weightings import MultiSimilarity, RowLoss

from .row_losses import Circle, Hardest, NTXent, SupCon
from .runs import close_runs, run
from .tolerances import close


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(40) // 5
    labels[:3] = torch.tensor([20, 21, 22])  # anchors without positives
    return x, labels


NAMES = sorted(set(REDUCTIONS) - {"none"})


def by_hand(name, each, labels, weighting, x):
    positives = (labels == labels[:, None]).sum(dim=1) - 1
    if name == "mean_of_active_terms":
        unit = torch.nn.functional.normalize(x.detach())
        same = labels == labels[:, None]
        weights = weighting.weights(unit @ unit.T, same ^ torch.eye(40).bool(), ~same)
        return each.sum() / (weights.pos.abs().sum() + weights.neg.abs().sum())
    return {
        "mean": each.mean(),
        "sum": each.sum(),
        "mean_of_anchors_with_pairs": each.mean(),
        "mean_of_anchors_with_positives": each[positives > 0].mean(),
        "mean_of_nonzero": each[each > 0].mean(),
        "mean_of_positive_pairs": each.sum() / positives.sum(),
    }[name]


@pytest.mark.parametrize("weighting", [SupCon(), NTXent(), Hardest(), MultiSimilarity()], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_against_the_losses_of_the_anchors(name, weighting):
    x, labels = batch()
    x.requires_grad_()
    found = gpw_loss(x, labels, weighting, reduction=name)
    expected = by_hand(name, gpw_loss(x, labels, weighting, reduction="none"), labels, weighting, x)
    close_runs(*((v.detach(), *torch.autograd.grad(v, x)) for v in (found, expected)))


@pytest.mark.parametrize(
    ("weighting", "reduction", "theirs"),
    [
        (SupCon(), "mean_of_nonzero", losses.SupConLoss()),
        (SupCon(), "mean_of_anchors_with_positives", losses.SupConLoss()),
        (Circle(), "mean_of_nonzero", losses.CircleLoss()),
        (NTXent(), "mean_of_positive_pairs", losses.NTXentLoss()),
    ],
)
def test_those_of_pml(weighting, reduction, theirs):
    x, labels = batch()
    found = run(gpw_loss, x, labels, weighting, reduction=reduction)
    for one, other in zip(found, run(theirs, x, labels), strict=True):
        close(one, other, 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_zero(name):
    x = batch()[0].requires_grad_()
    nothing = gpw_loss(x, torch.arange(40), SupCon(), MSMining(), reduction=name)
    assert nothing == 0
    nothing.backward()
    assert x.grad.count_nonzero() == 0
    empty = gpw_loss(x[:0], torch.zeros(0).long(), SupCon(), reduction=name)
    assert empty == 0


@dataclass(frozen=True)
class Hinge(RowLoss):
    """The margin loss of PML over all triplets of a batch, on similarities."""

    levels: ClassVar[tuple[str, ...]] = ("beta",)
    margin: float = 0.2
    beta: float = 0.3

    def loss(self, pos, neg):
        far = (self.beta - pos.sim + self.margin).clamp(min=0)
        near = (neg.sim - self.beta + self.margin).clamp(min=0)
        return neg.count() * pos.sum(far) + pos.count() * neg.sum(near)


@pytest.mark.parametrize("distance", [CosineSimilarity(), LpDistance()], ids=repr)
@pytest.mark.parametrize("layout", [*LAYOUTS, pytest.param("fused", marks=pytest.mark.exhaustive)])
def test_the_mean_of_active_terms_is_that_of_pmls_margin_loss(layout, distance):
    beta = 0.25 if distance.is_inverted else 1.125  # whose float32 is exact
    ours = GPWLoss(
        Hinge(beta=beta),
        reducer=AnchorReducer("mean_of_active_terms"),
        distance=distance,
        fused=layout == "fused",
    )
    ours.layout = "auto" if layout == "fused" else layout
    theirs = losses.MarginLoss(beta=beta, distance=distance)
    x, labels = batch()
    close_runs(*(run(loss, x, labels) for loss in (ours, theirs)))


REDUCERS = {
    "mean": reducers.MeanReducer,
    "sum": reducers.SumReducer,
    "mean_of_anchors_with_pairs": reducers.DivisorReducer,
    "mean_of_nonzero": reducers.AvgNonZeroReducer,
}


FUSED = ["mean_of_active_terms", "mean_of_nonzero"]


@pytest.mark.parametrize(
    ("name", "fused"),
    [
        *((name, False) for name in NAMES),
        *((name, True) for name in FUSED),
        *(pytest.param(n, True, marks=pytest.mark.exhaustive) for n in NAMES if n not in FUSED),
    ],
)
def test_as_a_reducer(name, fused, eager_backend):
    x, labels = batch()
    expected = run(gpw_loss, x, labels, MultiSimilarity(), reduction=name, fused=fused)
    for reducer in (AnchorReducer(name), *([REDUCERS[name]()] if name in REDUCERS else [])):
        loss = GPWLoss(MultiSimilarity(), reducer=reducer, fused=fused, trainable=("base",))
        close_runs(run(loss, x, labels), expected)


@pytest.mark.parametrize("reducer", [reducers.AvgNonZeroReducer(), AnchorReducer("mean")], ids=str)
def test_gradients_are_formed_in_forward(reducer):
    """But not below a hook, which may change what comes out."""
    calls = []

    @dataclass(frozen=True)
    class Counted(RowLoss):
        def loss(self, pos, neg):
            calls.append(1)
            return Hardest().loss(pos, neg)

    x, labels = batch()
    loss = GPWLoss(Counted(), reducer=reducer)
    x.requires_grad_()
    for again in (False, True):
        value = loss(x, labels)
        formed = len(calls)
        value.backward()
        assert (len(calls) > formed) == again
        loss.reducer.register_forward_hook(lambda *_: None)


def test_an_anchor_reducer_sees_a_hook_and_still_has_the_sums():
    x, labels = batch()
    reducer = AnchorReducer("mean_of_active_terms")
    loss = GPWLoss(Hinge(), reducer=reducer)
    expected = loss(x, labels)
    loss.reducer.register_forward_pre_hook(lambda *_: None)
    close(loss(x, labels), expected)
    assert float(expected) != pytest.approx(float(GPWLoss(Hinge())(x, labels)))


def test_what_an_anchor_reducer_refuses():
    x, labels = batch()
    with pytest.raises(ValueError, match="reduction"):
        AnchorReducer("median")
    with pytest.raises(ValueError, match="num_pos"):
        losses.MultiSimilarityLoss(reducer=AnchorReducer("mean"))(x, labels)
    with pytest.raises(ValueError, match="'triplet'"):
        losses.MarginLoss(reducer=AnchorReducer("mean"))(x, labels)
