"""A loss alone gives its weights, in every program, equal to autograd of the dense formula."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from pml_gpw import GPWLoss
from pml_gpw.weightings import DenseRows, PairWeights, RowLoss, SparseRows, check_weighting

from ..row_losses import ROW_LOSSES, SupCon
from ..tolerances import close

LAYOUTS = (DenseRows, SparseRows.of)


def batch(n=40, dims=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return x, torch.arange(n) // 5


@pytest.mark.parametrize("weighting", ROW_LOSSES, ids=repr)
def test_each_keeps_its_promises(weighting):
    check_weighting(weighting)


def test_gradients_of_extremes_go_to_the_first_of_equals():
    sim = torch.tensor([[0.5, 0.5, 0.2, 0.5]], requires_grad=True)
    mask = torch.tensor([[False, True, True, True]])
    for layout in LAYOUTS:
        rows = layout(sim, mask)
        extremes = rows.max(rows.sim), -rows.min(-rows.sim), rows.kth_largest(rows.sim, 2)
        for found in extremes:
            (gradient,) = torch.autograd.grad(found.sum(), sim, retain_graph=True)
            assert gradient.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("name", ["logsumexp", "softplus", "max", "min", "mean", "kth_largest"])
def test_empty_rows_have_no_gradient(name):
    sim = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, False, True], [False] * 3, [False] * 3])
    for layout, some in itertools.product(LAYOUTS, (slice(0, 2), slice(1, 3))):
        rows = layout(sim[some], mask[some])
        found = getattr(rows, name)(rows.sim, *([1] if name == "kth_largest" else []))
        found = found[0] if name == "logsumexp" else found
        found = torch.where(found.isfinite(), found, 0.0)
        (gradient,) = torch.autograd.grad(found.sum(), sim)
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()


def test_the_first_pairs_of_sparse_rows_in_any_order():
    sim, mask = torch.zeros(4, 9), torch.arange(36).view(4, 9) % 3 > 0
    row, column = (index.flip(0) for index in mask.nonzero(as_tuple=True))
    sparse = SparseRows(sim[row, column], row, column, (4, 9))
    for count in (1, 2):
        first = sparse.to_dense(sparse.first(sparse.sim == 0, count).float())
        close(first, DenseRows(sim, mask).first(mask, count).float())


def test_union_in_both_layouts():
    sim = torch.rand(3, 5)
    pos = torch.tensor([[True, False, False, True, False]] * 3)
    neg = ~pos & (torch.arange(5) > 1)
    every = DenseRows(sim, pos | neg)
    for of_pos, of_neg in itertools.product(LAYOUTS, LAYOUTS):
        both = of_pos(sim, pos).union(of_neg(sim, neg))
        close(both.sum(both.sim), every.sum(every.sim))
        assert both.count().tolist() == [4, 4, 4]


def test_a_subclass_may_override_the_weights_of_a_row_loss():
    @dataclass(frozen=True)
    class Halved(SupCon):
        def weigh(self, pos, neg):
            weights = super().weigh(pos, neg)
            return PairWeights(weights.pos / 2, weights.neg / 2)

    @dataclass(frozen=True)
    class Doubled(Halved):
        def loss(self, pos, neg):
            return 2 * super().loss(pos, neg)

    sim, pos = torch.rand(2, 4), torch.eye(4).bool()[:2]
    whole = SupCon().weights(sim, pos, ~pos)
    close(Halved().weights(sim, pos, ~pos).neg, whole.neg / 2)
    close(Doubled().weights(sim, pos, ~pos).neg, 2 * whole.neg)
    assert (SupCon.has_loss, Halved.has_loss, Doubled.has_loss) == (True, False, True)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda _, pos, neg: neg.sim, "Mine must return a loss for each of 40 anchors"),
        (lambda _, pos, neg: pos.sum(torch.sqrt(pos.sim - 2)) * 0, "Mine"),
    ],
    ids=["of pairs", "NaN"],
)
def test_what_is_no_loss_is_named(formula, message):
    mine = dataclass(frozen=True)(type("Mine", (RowLoss,), {"loss": formula}))
    with pytest.raises(ValueError, match=message):
        GPWLoss(mine())(*batch())
