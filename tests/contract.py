"""What every pair weighting promises. Each ``check_*`` takes a case and raises AssertionError.

The checks run for every row of ``cases.py``; a deliberately wrong formula must fail them
(``weightings/test_contract.py``), so that a check which cannot fail is noticed.
"""

from dataclasses import replace

import mpmath
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import SumReducer
from torch.nn.functional import normalize

from pml_gpw import GPWLoss
from pml_gpw.engine import dense_losses, reference_losses
from pml_gpw.mining import MSMining
from pml_gpw.weightings import DenseRows, SparseRows
from pml_gpw.weightings.pair_rows import NO_CONTEXT

from . import oracles
from .cases import COLD, EVERY_CASE, FOUR_LABELS, FOUR_POINTS
from .tolerances import close

NEGATIVES = NO_CONTEXT.of_negatives()
MININGS = (None, MSMining(0.1), MSMining(0.7))


def random_batch(n=14, dims=4, seed=0, per_class=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return normalize(x, dim=1).to(dtype), torch.arange(n) // per_class


def signed_gradient(losses_of, sim):
    sim = sim.clone().requires_grad_()
    losses = losses_of(sim)
    (gradient,) = torch.autograd.grad(losses.sum(), sim)
    return losses.detach(), gradient


def check_hand_written_value(case):
    pos, neg = oracles.pairs_of(FOUR_LABELS)
    close(
        case.weighting.losses(FOUR_POINTS, pos, neg)[0],
        torch.tensor(case.loss, dtype=torch.float64),
    )
    weights = case.weighting.weights(FOUR_POINTS, pos, neg)
    close((weights.pos + weights.neg)[0, 1:], torch.tensor(case.weights, dtype=torch.float64))


def check_equals_oracle(case):
    for seed, mining in enumerate(MININGS):
        x, labels = random_batch(seed=seed)
        sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
        epsilon = mining and mining.epsilon
        losses, signed = oracles.row_by_row(case.oracle, case.weighting, sim, pos, neg, epsilon)
        kept = (pos, neg) if mining is None else mining(sim, pos, neg)
        close(case.weighting.losses(sim, *kept), losses)
        weights = case.weighting.weights(sim, *kept)
        close(weights.neg - weights.pos, signed)


def check_weights_are_the_gradient(case):
    for seed, mining in enumerate(MININGS):
        x, labels = random_batch(seed=10 + seed)
        sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
        losses, signed = signed_gradient(
            lambda s, p=pos, n=neg, m=mining: reference_losses(s, p, n, case.weighting, m), sim
        )
        kept = (pos, neg) if mining is None else mining(sim, pos, neg)
        weights = case.weighting.weights(sim, *kept)
        close(weights.neg - weights.pos, signed)
        engine = signed_gradient(lambda s, k=kept: dense_losses(s, *k, case.weighting), sim)
        close(engine[0], losses)
        close(engine[1], signed)


def check_numerical_gradient(case):
    if case.holds_constants:  # finite differences do not
        return
    for mining in MININGS:
        x, labels = random_batch(n=7, dims=3, seed=3)
        loss = GPWLoss(case.weighting, mining)
        assert torch.autograd.gradcheck(lambda e, f=loss, y=labels: f(e, y), x.requires_grad_())


def check_masked_pairs_are_zero(case):
    x, labels = random_batch(seed=4)
    sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
    weights = case.weighting.weights(sim, pos, neg)
    if not case.weighting.any_sign:
        assert (weights.pos >= 0).all()
        assert (weights.neg >= 0).all()
    assert weights.pos[~pos].eq(0).all()
    assert weights.neg[~neg].eq(0).all()
    assert min(weights.pos.abs().sum(), weights.neg.abs().sum()) > 0, "weighs nothing at all"


def check_degenerate_batches(case):
    x, _ = random_batch(n=5)
    sim = 0.9 * x @ x.T  # no pair lies at the end of the axis
    nothing, everything = torch.zeros(5, 5).bool(), torch.ones(5, 5).bool()
    losses, gradient = signed_gradient(lambda s: case.weighting.losses(s, nothing, nothing), sim)
    assert losses.eq(0).all()
    assert gradient.eq(0).all()
    for pos, neg in ((everything, nothing), (nothing, everything)):
        losses, signed = oracles.row_by_row(case.oracle, case.weighting, sim, pos, neg)
        actual = signed_gradient(lambda s, p=pos, n=neg: case.weighting.losses(s, p, n), sim)
        close(actual[0], losses)
        close(actual[1], signed)
        actual = signed_gradient(lambda s, p=pos, n=neg: dense_losses(s, p, n, case.weighting), sim)
        close(actual[1], signed)
    one = x[:1].clone().requires_grad_()
    with pytest.warns(UserWarning, match="no pairs"):
        loss = GPWLoss(case.weighting)(one, torch.tensor([3]))
    loss.backward()
    assert loss == 0
    assert one.grad.eq(0).all()


def check_batch_order_does_not_matter(case):
    x, labels = random_batch(seed=5)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
    shuffled = sim[order][:, order]
    close(
        case.weighting.losses(shuffled, pos[order][:, order], neg[order][:, order]),
        case.weighting.losses(sim, pos, neg)[order],
    )


def check_extreme_similarities(case):
    """S = ±1 at scales of 1000: no overflow in any dtype, and still the right value."""
    weighting = replace(case.weighting, **case.extremes)
    mixed = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    apart = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0])  # easy rows: all underflows
    for signs, labels in ((mixed, [0, 0, 0, 1, 1, 2, 2]), (apart, [0, 0, 0, 1, 1, 1, 1])):
        _check_extremes(case, weighting, signs * signs[:, None], torch.tensor(labels))


def _check_extremes(case, weighting, sim, labels):
    pos, neg = oracles.pairs_of(labels)
    losses, signed = oracles.row_by_row(case.oracle, weighting, sim, pos, neg, m=mpmath)
    for dtype in (torch.float32, torch.float64):
        actual = signed_gradient(lambda s: dense_losses(s, pos, neg, weighting), sim.to(dtype))
        # exp(s/τ) doubles the rounding of s/τ, and a difference of two keeps it.
        tolerance = 1e-4 if case.extremes is COLD and dtype is torch.float32 else None
        close(actual[0], losses, tolerance)
        close(actual[1], signed, tolerance)
        reference = signed_gradient(lambda s: weighting.losses(s, pos, neg), sim.to(dtype))
        close(reference[1], signed, tolerance)


def check_layouts_agree(case):
    """The formula gives the same on masked dense rows and on the kept pairs alone."""
    x, labels = random_batch(seed=6)
    sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
    pos, neg = MSMining(0.2)(sim, pos, neg)
    dense = DenseRows(sim, pos), DenseRows(sim, neg, NEGATIVES)
    expected = case.weighting.evaluate(*dense)
    if case.weighting.needs_dense:
        with pytest.raises(AssertionError):
            case.weighting.evaluate(SparseRows.of(sim, pos), SparseRows.of(sim, neg))
        return
    for rows in (
        (SparseRows.of(sim, pos), dense[1]),
        (SparseRows.of(sim, pos), SparseRows.of(sim, neg, NEGATIVES)),
    ):
        losses, weights = case.weighting.evaluate(*rows)
        close(losses, expected[0])
        for view, values, d, e in zip(rows, weights, dense, expected[1], strict=True):
            close(view.to_dense(values), d.to_dense(e))


def check_references_equal_to_embeddings(case):
    x, labels = random_batch(seed=7)
    for mining in MININGS:
        loss = GPWLoss(case.weighting, mining)
        own = loss(x, labels)
        close(loss(x, labels, ref_emb=x, ref_labels=labels), own)
        close(loss(x, labels, ref_emb=x.clone(), ref_labels=labels.clone()), own)


def check_upstream_gradients(case):
    """Each anchor's gradient scales with its own upstream gradient."""
    x, labels = random_batch(seed=8)
    sim, (pos, neg) = x @ x.T, oracles.pairs_of(labels)
    upstream = torch.linspace(-2, 3, len(x), dtype=torch.float64)
    sim.requires_grad_()
    (gradient,) = torch.autograd.grad(
        dense_losses(sim, pos, neg, case.weighting), sim, grad_outputs=upstream
    )
    weights = case.weighting.weights(sim.detach(), pos, neg)
    close(gradient, upstream[:, None] * (weights.neg - weights.pos))


def check_half_precision(case):
    """Error of loss and gradient ≤ 2 × that of plain torch in the same half precision."""
    for dtype in (torch.bfloat16, torch.float16):
        x, labels = random_batch(n=24, dims=16, seed=9, per_class=4, dtype=dtype)
        pos, neg = oracles.pairs_of(labels)

        def plain(e, pos=pos, neg=neg):
            unit = normalize(e, dim=1)
            return reference_losses(unit @ unit.T, pos, neg, case.weighting).mean()

        def run(function, embeddings):
            embeddings = embeddings.clone().requires_grad_()
            value = function(embeddings)
            value.backward()
            assert embeddings.grad.dtype == embeddings.dtype
            return value.detach().double(), embeddings.grad.double()

        exact = run(plain, x.double())
        theirs = run(plain, x)
        ours = run(lambda e, y=labels: GPWLoss(case.weighting)(e, y), x)
        for a, b, e in zip(ours, theirs, exact, strict=True):
            floor = torch.finfo(dtype).eps * e.abs().max()  # gradients return in that dtype
            assert (a - e).abs().max() <= 2 * (b - e).abs().max() + floor


def check_levels_are_negated_with_distances(case):
    """A distance is read as S = −D: the loss on the matrix −D with negated levels, and the oracle
    on it, whatever the mining; negating twice changes nothing. A formula of unit rows refuses."""
    if case.weighting.of_unit_rows:
        loss = GPWLoss(case.weighting, distance=LpDistance(normalize_embeddings=False))
        with pytest.raises(ValueError, match="must be the cosine for"):
            loss(*random_batch())
        return
    weighting = case.weighting.for_negated_distances()
    assert weighting.for_negated_distances() == case.weighting
    level = getattr(case.weighting, case.level) if case.level else 0.0
    x, labels = random_batch(seed=11)
    masks = oracles.pairs_of(labels)
    moved = weighting.weights(x @ x.T - 2 * level, *masks)  # as far from -level as S from level
    for a, b in zip(moved, case.weighting.weights(x @ x.T, *masks), strict=True):
        close(a, b)
    for mining in MININGS:
        x, labels = random_batch(seed=11)
        x = x.requires_grad_()
        distance = LpDistance(normalize_embeddings=False)
        sim = -distance(x, x)
        epsilon = mining and mining.epsilon
        losses, signed = oracles.row_by_row(
            case.oracle, weighting, sim.detach(), *oracles.pairs_of(labels), epsilon
        )
        found = GPWLoss(case.weighting, mining, distance=distance, reducer=SumReducer())(x, labels)
        close(found, losses.sum())
        (wanted,) = torch.autograd.grad(sim, x, signed)
        close(torch.autograd.grad(found, x)[0], wanted)


def check_declared_similarities_are_the_measured_ones(case):
    """Letters that the formula does not declare are never measured, and those of all rows of a
    weighting together are what it declares."""
    of_class = [c.weighting for c in EVERY_CASE if type(c.weighting) is type(case.weighting)]
    if case.weighting not in of_class:
        of_class = [case.weighting]
    measured = set().union(*map(measured_similarities, of_class))
    assert measured == case.weighting.similarities


def measured_similarities(weighting, trials=25):
    """The letters that weights depend on, by moving similarities of one anchor.

    S: all of the row shift together; N: other pairs of the kind move; P: those of the other kind.
    """
    generator = torch.Generator().manual_seed(0)
    pos = torch.tensor([[True] * 4 + [False] * 5])
    used = set()
    for _ in range(trials):
        sim = 1.6 * torch.rand(1, 9, generator=generator, dtype=torch.float64) - 0.8
        before = weighting.weights(sim, pos, ~pos)
        for kind, (same, other) in enumerate(((pos, ~pos), (~pos, pos))):
            watched = torch.zeros_like(pos)
            watched[0, 0 if kind == 0 else 4] = True
            for letter, moved in (("S", pos | ~pos), ("N", same & ~watched), ("P", other)):
                for shift in (-0.8, -0.1, 0.1, 0.8):
                    after = weighting.weights(sim + shift * moved, pos, ~pos)
                    change = (after[kind] - before[kind])[watched].abs()
                    if change > 1e-9 * (1 + before[kind].max()):
                        used.add(letter)
    return used


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
