"""Numbers that torch cannot use, in every weighting and mining that takes a number."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pml_gpw import MSLoss, MSMiner, mining, weightings
from pml_gpw.modules import CrossBatchMemory
from pml_gpw.training import Experiment, RandomClassBatches
from pml_gpw.weightings.rules import float_fields

from .cases import EVERY_CASE, MINING_CASES

HUGE = 10**400
NUMBERS = {
    (type(rule), name): rule
    for rule in (*(c.weighting for c in EVERY_CASE), *(c.mining for c in MINING_CASES))
    for name in float_fields(rule)
}


@pytest.mark.parametrize(("key", "rule"), NUMBERS.items(), ids=lambda v: str(v))
def test_numbers_that_float32_does_not_hold(key, rule):
    name = key[1]
    for value, message in (
        (1e39, r".*, got 1e\+39"),
        (HUGE, ".*, got an integer of 1329 bits"),
        (Fraction(1, 2), r"a finite .*, got Fraction\(1, 2\)"),
        (math.nan, "a finite .*, got nan"),
        (-math.inf, "a finite .*, got -inf"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be {message}"):
            replace(rule, **{name: value})
    for value in (np.float16(0.5), np.float32(0.5), np.int64(1)):
        assert getattr(replace(rule, **{name: value}), name) == value


def test_the_largest_number():
    assert weightings.Contrastive(3e38).margin == 3e38
    with pytest.raises(ValueError, match=r"at most 3.4e\+38 .*, got 3.5e\+38"):
        weightings.Contrastive(3.5e38)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weightings.BinomialDeviance(alpha=0), "alpha must be .*, got 0"),
        (lambda: weightings.LiftedStructure(beta=0), "beta must be .*, got 0"),
        (
            lambda: weightings.LiftedStructure(1e-46),
            "alpha must be at least 1.18e-38, .* got 1e-46",
        ),
        (lambda: setattr(MSLoss(), "beta", 1e39), r"beta must be at most .* got 1e\+39"),
        (lambda: setattr(MSMiner(), "epsilon", HUGE), "epsilon must be at most .* 1329 bits"),
        (
            lambda: mining.EasyHardMining(allowed_pos_range=(0, 1e39)),
            "allowed_pos_range must be at",
        ),
        (lambda: mining.HardestNegatives(k=HUGE), "k must be at most .* an integer of 1329 bits"),
        (lambda: mining.DistanceWeightedMining(dim=HUGE), "dim must be at most .* of 1329 bits"),
        (
            lambda: mining.DistanceWeightedMining(4, negated_distances=1),
            "negated_distances must be",
        ),
        (lambda: MSLoss(chunk_size=HUGE), "chunk_size must be at most .* of 1329 bits"),
        (lambda: weightings.MultiSimilarity.preset("best"), "name must be one of .* got 'best'"),
        (lambda: weightings.MultiSimilarity.preset([]), r"name must be one of .*, got \[\]"),
    ],
)
def test_values_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (weightings.FastAP, "num_bins"),
        (mining.HardestNegatives, "k"),
        (mining.DistanceWeightedMining, "dim"),
        (lambda n: mining.DistanceWeightedMining(2, salt=n), "salt"),
        (lambda n: CrossBatchMemory(MSLoss(), n), "embedding_size"),
        (lambda n: CrossBatchMemory(MSLoss(), 2, n), "memory_size"),
        (lambda n: RandomClassBatches([0, 0], n, per_class=n, batches=n), "batch_size"),
        (lambda n: Experiment(iterations=n), "iterations"),
        (lambda n: Experiment(evaluate_every=n), "evaluate_every"),
    ],
)
def test_integers_of_numpy_are_integers(make, name):
    """They are kept as Python's, which torch, JSON and a strict load of a checkpoint ask for."""
    for kind in (np.int64, np.uint8):
        value = getattr(make(kind(2)), name)
        assert (type(value), value) == (int, 2)
    for other in (np.float64(2), np.bool_(True)):
        with pytest.raises(ValueError, match=r"must be an integer > ?=? ?0, got np\."):
            make(other)


def test_settings_of_numpy_are_those_of_a_file():
    numpy = Experiment(milestones=(np.int64(3),), seed=np.int32(1), learning_rate=np.float32(0.5))
    assert json.dumps(numpy.settings()) == json.dumps(
        Experiment(milestones=(3,), seed=1, learning_rate=0.5).settings()
    )
