"""The means of the field, against plain formulas; hosts/pml2/test_named_losses.py has PML's."""

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from pytorch_metric_learning import losses, reducers

from pml_gpw import GPWLoss, modules
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import gpw_loss
from pml_gpw.mining import MSMining
from pml_gpw.reducers import AnchorReducer
from pml_gpw.reductions import REDUCTIONS
from pml_gpw.weightings import MultiSimilarity, RowLoss

from .oracles import pairs_of
from .row_losses import ROW_LOSSES, Hardest, Margin, SupCon
from .runs import close_runs, run
from .tolerances import close


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(40) // 5
    labels[:3] = torch.tensor([20, 21, 22])  # anchors without positives
    return x, labels


NAMES = sorted(set(REDUCTIONS) - {"none"})


def by_hand(name, x, labels, weighting):
    unit = torch.nn.functional.normalize(x)
    rows = unit @ unit.T, *pairs_of(labels)
    each, positives = weighting.losses(*rows), rows[1].sum(dim=1)
    weights = weighting.weights(rows[0].detach(), *rows[1:])
    return {
        "mean": each.mean(),
        "sum": each.sum(),
        "mean_of_anchors_with_pairs": each.mean(),
        "mean_of_anchors_with_positives": each[positives > 0].mean(),
        "mean_of_nonzero": each[each > 0].mean(),
        "mean_of_positive_pairs": each.sum() / positives.sum(),
        "mean_of_active_terms": each.sum() / (weights.pos.abs() + weights.neg.abs()).sum(),
    }[name]


@pytest.mark.parametrize("weighting", [*ROW_LOSSES, MultiSimilarity()], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_every_program_is_autograd_of_the_dense_formula(name, weighting):
    x, labels = batch()
    expected = run(lambda x: by_hand(name, x, labels, weighting), x)
    for layout, chunk_size in product(LAYOUTS, (None, 16)):
        loss = modules.GPWLoss(weighting, chunk_size=chunk_size, reduction=name)
        loss.layout = layout
        close_runs(run(loss, x, labels), expected)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_zero(name):
    x = batch()[0].requires_grad_()
    nothing = gpw_loss(x, torch.arange(40), SupCon(), MSMining(), reduction=name)
    assert nothing == 0
    nothing.backward()
    assert x.grad.count_nonzero() == 0
    empty = gpw_loss(x[:0], torch.zeros(0).long(), SupCon(), reduction=name)
    assert empty == 0


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
    loss = GPWLoss(Margin(), reducer=AnchorReducer("mean_of_active_terms"))
    expected = loss(x, labels)
    loss.reducer.register_forward_pre_hook(lambda *_: None)
    close(loss(x, labels), expected)
    assert float(expected) != pytest.approx(float(GPWLoss(Margin())(x, labels)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda reducer: AnchorReducer("median"), "reduction"),
        (lambda reducer: losses.MultiSimilarityLoss(reducer=reducer)(*batch()), "num_pos"),
        (lambda reducer: losses.MarginLoss(reducer=reducer)(*batch()), "'triplet'"),
    ],
)
def test_what_an_anchor_reducer_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make(AnchorReducer("mean"))
