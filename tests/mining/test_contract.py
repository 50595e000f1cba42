from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pml_gpw.mining import BatchHardMining, DistanceWeightedMining, MSMining, PairMining

from .. import mining_contract as contract
from .. import oracles
from ..cases import MINING_CASES, MiningCase


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("case", MINING_CASES, ids=lambda c: c.name)
def test_contract(case, check):
    check(case)


@pytest.mark.parametrize("cls", dict.fromkeys(type(case.mining) for case in MINING_CASES))
def test_declared_similarities_are_the_measured_ones(cls):
    of_class = [case.mining for case in MINING_CASES if type(case.mining) is cls]
    assert set().union(*map(contract.measured_similarities, of_class)) == cls.similarities


@settings(max_examples=30)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    epsilon=st.sampled_from([0, 0.1, 0.5, 1, 3]),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_multi_similarity_equals_the_equations(labels, epsilon, seed, coarse):
    """Also where similarities are equal, or are apart by just ε."""
    generator = torch.Generator().manual_seed(seed)
    sim = 2 * torch.rand(len(labels), len(labels), generator=generator, dtype=torch.float64) - 1
    if coarse:
        sim = (sim * 2).round() / 2
    masks = oracles.pairs_of(torch.tensor(labels))
    rule = MSMining(epsilon)
    expected = oracles.mined_row_by_row(oracles.ms_mining, rule, sim, *masks)
    for found, mask in zip(rule(sim, *masks), expected, strict=True):
        assert found.equal(mask)


@dataclass(frozen=True)
class FalseBound(MSMining):
    """A bound above negatives that the rule keeps."""

    def negative_lower_bound(self, hardest_pos):
        return hardest_pos + 0.1


@dataclass(frozen=True)
class LastOfEquals(BatchHardMining):
    def select(self, pos, neg):
        return tuple(
            rows.sim - 1e-12 * sign * rows.reference_index
            == rows.expand(sign * rows.max(sign * rows.sim - 1e-12 * rows.reference_index))
            for sign, rows in ((-1, pos), (1, neg))
        )


@dataclass(frozen=True)
class DrawsAnew(DistanceWeightedMining):
    """Other numbers each time it is asked."""

    def select(self, pos, neg):
        return torch.rand_like(pos.sim) < 0.5, torch.rand_like(neg.sim) < 0.5


ACCEPTED, ALL = "check_the_package_accepts_it", "check_pairs_equal_the_slow_loop"
GRADIENTS = "check_losses_and_gradients_are_those_of_the_pairs"
WRONG = [
    (FalseBound(0.1), oracles.ms_mining, f"{ACCEPTED} {ALL}"),
    (LastOfEquals(), oracles.batch_hard_mining, ALL),
    (DrawsAnew(dim=4), oracles.distance_weighted_mining, f"{GRADIENTS} {ALL}"),
]


@pytest.mark.parametrize(("rule", "oracle", "checks"), WRONG, ids=lambda v: type(v).__name__)
def test_a_wrong_rule_fails_the_contract(rule, oracle, checks):
    for name in checks.split():
        with pytest.raises((AssertionError, ValueError)):
            getattr(contract, name)(MiningCase(rule, oracle))


@dataclass(frozen=True)
class Returns(PairMining):
    """Masks of all pairs, or something else, or a bound that is what a test wants to see."""

    masks: object = None
    bound: object = None

    def select(self, pos, neg):
        return self.masks() if self.masks else (pos.sim == pos.sim, neg.sim > 0)

    def negative_lower_bound(self, hardest_pos):
        return self.bound(hardest_pos) if self.bound else None


@pytest.mark.parametrize("shape", [None, (3,), (3, 3)])
@pytest.mark.parametrize("two", [False, True])
def test_a_rule_that_returns_no_masks_is_named(shape, two):
    """One mask, none, values of anchors, or numbers."""
    value = shape and torch.ones(shape, dtype=torch.bool if len(shape) == 1 else torch.float32)
    wrong = Returns(lambda: (value, value) if two else value)
    sim, mask = torch.rand(3, 3), torch.eye(3).bool()
    with pytest.raises(ValueError, match="select of Returns must return two tensors of booleans"):
        wrong(sim, mask, ~mask)


def test_random_numbers_without_a_key():
    @dataclass(frozen=True)
    class Undeclared(PairMining):
        def select(self, pos, neg):
            return pos.uniform(0) < 0.5, neg.uniform(0) < 0.5

    with pytest.raises(RuntimeError, match="is_random"):
        Undeclared()(torch.rand(2, 2), torch.eye(2).bool(), ~torch.eye(2).bool())


def above_zero(rule, row):
    return {j for j, _ in row.pos}, {j for j, s in row.neg if s > 0}


def test_a_bound_that_is_nan_says_nothing():
    rule = Returns(bound=lambda hardest: torch.full_like(hardest, torch.nan))
    contract.check_pairs_equal_the_slow_loop(MiningCase(rule, above_zero))


@pytest.mark.parametrize("bound", [lambda hardest: 0.0, lambda hardest: hardest[:1]])
def test_a_bound_of_another_shape_is_named(bound):
    batch = next(contract.batches())
    plan = contract.Plan(7, "sparse rows")
    with pytest.raises(ValueError, match="negative_lower_bound of Returns must return None or"):
        contract.mined_pairs(batch, Returns(bound=bound), contract.SIMILARITY, plan)
