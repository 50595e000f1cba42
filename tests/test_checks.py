"""Numbers that torch cannot use, in every weighting and mining that takes a number."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from pml_gpw import MSLoss, MSMiner, mining, weightings
from pml_gpw.modules import CrossBatchMemory
from pml_gpw.training import Experiment, RandomClassBatches

HUGE = 10**400
NUMBERS = {
    weightings.BinomialDeviance: "alpha beta base",
    weightings.MultiSimilarity: "alpha beta base",
    weightings.LiftedStructure: "alpha beta margin",
    weightings.Contrastive: "margin",
    weightings.Triplet: "margin",
    mining.MSMining: "epsilon",
    mining.PairMarginMining: "pos_margin neg_margin",
    mining.DistanceWeightedMining: "cutoff nonzero_loss_cutoff",
}


def made(cls, **settings):
    return cls(**({"dim": 8} if cls is mining.DistanceWeightedMining else {}) | settings)


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls, names in NUMBERS.items() for name in names.split()]
)
def test_numbers_that_float32_does_not_hold(cls, name):
    for value, message in (
        (1e39, r"at most 3.4e\+38 .*, got 1e\+39"),
        (HUGE, r"at most 3.4e\+38 .*, got an integer of 1329 bits"),
        (Fraction(1, 2), r"a finite .*, got Fraction\(1, 2\)"),
        (math.nan, "a finite .*, got nan"),
        (-math.inf, "a finite .*, got -inf"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be {message}"):
            made(cls, **{name: value})
    for value in (3e38, np.float16(2), np.float32(2), np.int64(2)):
        assert getattr(made(cls, **{name: value}), name) == value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weightings.BinomialDeviance(alpha=0), "alpha must be .*, got 0"),
        (lambda: weightings.LiftedStructure(beta=0), "beta must be .*, got 0"),
        (
            lambda: weightings.LiftedStructure(alpha=1e-46),
            "alpha must be at least 1.18e-38, .* got 1e-46",
        ),
        (lambda: setattr(MSLoss(), "beta", 1e39), r"beta must be at most .* got 1e\+39"),
        (lambda: setattr(MSMiner(), "epsilon", HUGE), "epsilon must be at most .* 1329 bits"),
        (
            lambda: mining.EasyHardMining(allowed_pos_range=(0, 1e39)),
            "allowed_pos_range must be at most",
        ),
        (
            lambda: mining.HardestNegatives(k=HUGE),
            "k must be at most .* got an integer of 1329 bits",
        ),
        (lambda: mining.DistanceWeightedMining(dim=HUGE), "dim must be at most .* of 1329 bits"),
        (
            lambda: mining.DistanceWeightedMining(4, negated_distances=1),
            "negated_distances must be a bool",
        ),
        (lambda: MSLoss(chunk_size=HUGE), "chunk_size must be at most .* of 1329 bits"),
        (
            lambda: weightings.MultiSimilarity.preset("best"),
            "name must be one of paper, .* got 'best'",
        ),
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
