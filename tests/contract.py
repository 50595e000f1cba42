"""What every pair weighting promises: each ``check_*`` takes a case and raises AssertionError.

Wrong formulas must fail (``weightings/test_contract.py``).
"""

from dataclasses import replace
from functools import partial
from itertools import product

import mpmath
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import SumReducer
from torch.nn.functional import normalize

from pml_gpw import GPWLoss, weightings
from pml_gpw.engine import dense_losses, reference_losses
from pml_gpw.mining import MSMining

from . import oracles
from .cases import COLD, EVERY_CASE, FOUR_LABELS, FOUR_POINTS
from .tolerances import close

MININGS = (None, MSMining(0.1), MSMining(0.7))


def random_batch(n=14, dims=4, seed=0, per_class=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dims, generator=generator, dtype=torch.float64)
    return normalize(x, dim=1).to(dtype), torch.arange(n) // per_class


def signed_gradient(losses_of, sim, upstream=None):
    sim = sim.clone().requires_grad_()
    losses = losses_of(sim)
    upstream = torch.ones_like(losses) if upstream is None else upstream
    (gradient,) = torch.autograd.grad(losses, sim, upstream)
    return losses.detach(), gradient


def check_hand_written_value(case):
    if case.loss is None:
        return
    masks = oracles.pairs_of(FOUR_LABELS)
    expected = torch.tensor([case.loss, *case.weights], dtype=torch.float64)
    close(case.weighting.losses(FOUR_POINTS, *masks)[0], expected[0])
    weights = case.weighting.weights(FOUR_POINTS, *masks)
    close((weights.pos + weights.neg)[0, 1:], expected[1:])


def check_equals_oracle(case):
    for seed, mining in enumerate(MININGS):
        x, labels = random_batch(seed=seed)
        sim, masks = x @ x.T, oracles.pairs_of(labels)
        epsilon = mining and mining.epsilon
        losses, signed = oracles.row_by_row(case.oracle, case.weighting, sim, *masks, epsilon)
        kept = masks if mining is None else mining(sim, *masks)
        close(case.weighting.losses(sim, *kept), losses)
        weights = case.weighting.weights(sim, *kept)
        close(weights.neg - weights.pos, signed)


def check_weights_are_the_gradient(case):
    """By autograd of the losses and in the engine, for any upstream gradient of the anchors."""
    upstream = torch.linspace(-2, 3, 14, dtype=torch.float64)
    for seed, mining in enumerate(MININGS):
        x, labels = random_batch(seed=10 + seed)
        sim, masks = x @ x.T, oracles.pairs_of(labels)
        kept = masks if mining is None else mining(sim, *masks)
        weights = case.weighting.weights(sim, *kept)
        losses, gradient = signed_gradient(
            lambda s, m=masks, r=mining: reference_losses(s, *m, case.weighting, r), sim, upstream
        )
        close(gradient, upstream[:, None] * (weights.neg - weights.pos))
        engine = signed_gradient(
            lambda s, k=kept: dense_losses(s, *k, case.weighting), sim, upstream
        )
        close(engine[0], losses)
        close(engine[1], gradient)


def check_numerical_gradient(case):
    if case.holds_constants:  # finite differences do not
        return
    for mining in MININGS:
        x, labels = random_batch(n=7, dims=3, seed=3)
        loss = GPWLoss(case.weighting, mining)
        assert torch.autograd.gradcheck(lambda e, f=loss, y=labels: f(e, y), x.requires_grad_())


def check_the_package_accepts_it(case):
    """Layouts agree, anchors are independent, and weights are the derivative and, but of a
    ``RowLoss``, not negative."""
    weightings.check_weighting(case.weighting)


def check_degenerate_batches(case):
    x, _ = random_batch(n=5)
    sim = 0.9 * x @ x.T  # no pair lies at the end of the axis
    nothing, everything = torch.zeros(5, 5).bool(), torch.ones(5, 5).bool()
    for masks in ((nothing, nothing), (everything, nothing), (nothing, everything)):
        expected = oracles.row_by_row(case.oracle, case.weighting, sim, *masks)
        for function in (case.weighting.losses, partial(dense_losses, weighting=case.weighting)):
            found = signed_gradient(lambda s, f=function, m=masks: f(s, *m), sim)
            close(found[0], expected[0])
            close(found[1], expected[1])


def check_extreme_similarities(case):
    """S = ±1 at scales of 1000: no overflow in any dtype, and still the right value."""
    weighting = replace(case.weighting, **case.extremes)
    mixed = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0])
    apart = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0])  # easy rows: all underflows
    for signs, labels in ((mixed, [0, 0, 0, 1, 1, 2, 2]), (apart, [0, 0, 0, 1, 1, 1, 1])):
        _check_extremes(case, weighting, signs * signs[:, None], torch.tensor(labels))


def _check_extremes(case, weighting, sim, labels):
    masks = oracles.pairs_of(labels)
    losses, signed = oracles.row_by_row(case.oracle, weighting, sim, *masks, m=mpmath)
    for dtype in (torch.float32, torch.float64):
        # exp(s/τ) doubles the rounding of s/τ, and a difference of two keeps it.
        tolerance = 1e-4 if case.extremes is COLD and dtype is torch.float32 else None
        actual = signed_gradient(lambda s: dense_losses(s, *masks, weighting), sim.to(dtype))
        close(actual[0], losses, tolerance)
        close(actual[1], signed, tolerance)
        reference = signed_gradient(lambda s: weighting.losses(s, *masks), sim.to(dtype))
        close(reference[1], signed, tolerance)


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
    measured = set().union(*(measured_similarities(weighting.weights) for weighting in of_class))
    assert measured == case.weighting.similarities


def measured_similarities(values_of, trials=25):
    """The letters that values of pairs depend on, by moving similarities of one anchor.

    S: all of the row shift together; N: other pairs of the kind move; P: those of the other kind.
    """
    generator = torch.Generator().manual_seed(0)
    pos = torch.tensor([[True] * 4 + [False] * 6])
    used = set()
    for _ in range(trials):
        sim = 1.6 * torch.rand(1, 10, generator=generator, dtype=torch.float64) - 0.8
        before = values_of(sim, pos, ~pos)
        for kind, first, same, other in ((0, 0, pos, ~pos), (1, 4, ~pos, pos)):
            others = same.clone()
            others[0, first] = False
            moves = {"S": pos | ~pos, "N": others, "P": other}
            for letter, shift in product(moves.keys() - used, (-0.8, -0.1, 0.1, 0.8)):
                after = values_of(sim + shift * moves[letter], pos, ~pos)
                change = (after[kind].double() - before[kind].double())[0, first].abs()
                if change > 1e-9 * (1 + before[kind].max()):
                    used.add(letter)
    return used


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
