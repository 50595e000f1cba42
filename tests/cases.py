"""One row per public weighting and mining: ``CASES`` of the paper, ``FIELD_CASES`` of the field.

A weighting has its oracle and its numbers by hand on four points with labels 0, 0, 1, 1: anchor 0
has the positive 0.8 and the negatives 0.5 and 0.1.
"""

from dataclasses import dataclass, field
from math import exp, log
from typing import Any

import torch

from pml_gpw import mining, weightings

from . import oracles

FOUR_POINTS = torch.tensor(
    [[1.0, 0.8, 0.5, 0.1], [0.8, 1.0, 0.3, 0.6], [0.5, 0.3, 1.0, 0.7], [0.1, 0.6, 0.7, 1.0]],
    dtype=torch.float64,
)
FOUR_LABELS = torch.tensor([0, 0, 1, 1])


SHARP = {"alpha": 1000.0, "beta": 1000.0}
COLD = {"temperature": 1e-3}


@dataclass(frozen=True)
class Case:
    weighting: weightings.PairWeighting
    oracle: Any
    #: Of anchor 0, and of the pairs (0, 1), (0, 2), (0, 3); None where oracle or PML say them.
    loss: float | None = None
    weights: tuple[float, ...] = ()
    level: str = ""  # the field that is a level on the similarity axis
    #: Fields at which exponentials leave the range of floats.
    extremes: dict = field(default_factory=dict)
    #: True where the gradient leaves out what a paper holds constant.
    holds_constants: bool = False

    @property
    def name(self):
        return repr(self.weighting)


CASES = [
    Case(weightings.Constant(), oracles.constant, 0.5 + 0.1 - 0.8, (1, 1, 1)),
    Case(
        weightings.Contrastive(margin=0.3),
        oracles.contrastive,
        0.2 - 0.8,
        (1, 1, 0),
        level="margin",
    ),
    Case(weightings.Triplet(margin=0.4), oracles.triplet, 0.5 - 0.8 + 0.4, (1, 1, 0)),
    Case(
        weightings.LiftedStructure(margin=1.0),
        oracles.lifted_structure,
        1 - 0.8 + log(exp(0.5) + exp(0.1)),
        (1, 1 / (1 + exp(-0.4)), 1 / (1 + exp(0.4))),
        extremes=SHARP,
    ),
    Case(
        weightings.LiftedStructure(alpha=2, beta=50, margin=None),
        oracles.lifted_structure,
        -0.8 + log(exp(25) + exp(5)) / 50,
        (1, 1 / (1 + exp(-20)), 1 / (1 + exp(20))),
        extremes=SHARP,
    ),
    Case(
        weightings.BinomialDeviance(alpha=2, beta=50, base=0.5),
        oracles.binomial_deviance,
        log(1 + exp(-0.6)) + (log(2) + log(1 + exp(-20))) / 2,
        (2 / (1 + exp(0.6)), 12.5, 25 / (1 + exp(20))),
        level="base",
        extremes=SHARP,
    ),
    Case(
        weightings.MultiSimilarity(alpha=2, beta=50, base=0.5),
        oracles.multi_similarity,
        log(1 + exp(-0.6)) / 2 + log(1 + 1 + exp(-20)) / 50,
        (1 / (exp(0.6) + 1), 1 / (2 + exp(-20)), exp(-20) / (2 + exp(-20))),
        level="base",
        extremes=SHARP,
    ),
]
FIELD_CASES = [
    Case(weightings.NTXent(temperature=0.5), oracles.nt_xent, extremes=COLD),
    Case(weightings.NPair(), oracles.nt_xent),
    Case(weightings.Decoupled(temperature=0.5), oracles.decoupled, extremes=COLD),
    Case(weightings.HardNTXent(temperature=0.5, beta=1.0), oracles.hard_nt_xent, extremes=COLD),
    Case(weightings.SupCon(temperature=0.5), oracles.sup_con, extremes=COLD),
    Case(weightings.GradedSupCon(temperature=0.25), oracles.sup_con, extremes=COLD),
    Case(
        weightings.TupletMargin(margin=10, scale=8),
        oracles.tuplet_margin,
        extremes={"scale": 1000.0},
    ),
    Case(
        weightings.Circle(m=0.25, gamma=4),
        oracles.circle,
        extremes={"gamma": 1000.0},
        holds_constants=True,
    ),
    Case(
        weightings.Sigmoid(scale=10, bias=-5),
        oracles.sigmoid,
        log(1 + exp(-3)) + log(2) + log(1 + exp(-4)),
        (10 / (1 + exp(3)), 5, 10 / (1 + exp(4))),
        extremes={"scale": 1000.0},
    ),
    Case(weightings.Margin(margin=0.2, beta=0.7), oracles.margin),
    Case(weightings.Margin(margin=0.5, beta=0.9, per_triplet=True), oracles.margin),
    Case(weightings.RankedList(), oracles.ranked_list, 0.1, (0, 0.5, 0), holds_constants=True),
    Case(
        weightings.RankedList(margin=0.8, tn=2, imbalance=0.3, alpha=1.4, tp=1),
        oracles.ranked_list,
        extremes={"tn": 1000.0, "tp": 1000.0},
        holds_constants=True,
    ),
    Case(weightings.FastAP(num_bins=6), oracles.fast_ap, 0.2, (1, 0.8, 0)),
    Case(
        weightings.GradedContrastive(margin=1.1),
        oracles.graded_contrastive,
        0.2 + 0.1**2 / 2,
        (1, 0.1, 0),
    ),
]
EVERY_CASE = FIELD_CASES + CASES


@dataclass(frozen=True)
class MiningCase:
    mining: mining.PairMining
    oracle: Any

    @property
    def name(self):
        return repr(self.mining)


MINING_CASES = [
    MiningCase(mining.MSMining(0.1), oracles.ms_mining),
    MiningCase(mining.MSMining(0.7), oracles.ms_mining),
    MiningCase(mining.PairMarginMining(0.8, 0.2), oracles.pair_margin_mining),
    MiningCase(mining.BatchHardMining(), oracles.batch_hard_mining),
    MiningCase(mining.EasyHardMining("easy", "semihard"), oracles.easy_hard_mining),
    MiningCase(mining.EasyHardMining("semihard", "hard"), oracles.easy_hard_mining),
    MiningCase(
        mining.EasyHardMining("hard", "easy", (-0.2, 0.9), (-0.5, 0.6)), oracles.easy_hard_mining
    ),
    MiningCase(mining.EasyHardMining("all", "hard"), oracles.easy_hard_mining),
    MiningCase(mining.HardestNegatives(k=3), oracles.hardest_negatives),
    MiningCase(mining.DistanceWeightedMining(dim=4), oracles.distance_weighted_mining),
]
