"""One row per public weighting and mining.

Of a weighting: what it is, its oracle, and its numbers on four points by hand.

The four points have labels 0, 0, 1, 1 and the similarities of ``FOUR_POINTS``. Anchor 0 has the
positive 0.8 and the negatives 0.5 and 0.1; its loss and weights are written out below.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Any

import torch

from pml_gpw.mining import (
    BatchHardMining,
    DistanceWeightedMining,
    EasyHardMining,
    HardestNegatives,
    MSMining,
    PairMarginMining,
    PairMining,
)
from pml_gpw.weightings import (
    BinomialDeviance,
    Constant,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
    PairWeighting,
    Triplet,
)

from . import oracles

FOUR_POINTS = torch.tensor(
    [[1.0, 0.8, 0.5, 0.1], [0.8, 1.0, 0.3, 0.6], [0.5, 0.3, 1.0, 0.7], [0.1, 0.6, 0.7, 1.0]],
    dtype=torch.float64,
)
FOUR_LABELS = torch.tensor([0, 0, 1, 1])


@dataclass(frozen=True)
class Case:
    weighting: PairWeighting
    oracle: Any
    loss: float
    weights: tuple[float, float, float]  # of the pairs (0, 1), (0, 2), (0, 3)
    level: str = ""  # the field that is a level on the similarity axis

    @property
    def name(self):
        return repr(self.weighting)


CASES = [
    Case(Constant(), oracles.constant, 0.5 + 0.1 - 0.8, (1, 1, 1)),
    Case(Contrastive(margin=0.3), oracles.contrastive, 0.2 - 0.8, (1, 1, 0), level="margin"),
    Case(Triplet(margin=0.4), oracles.triplet, 0.5 - 0.8 + 0.4, (1, 1, 0)),
    Case(
        LiftedStructure(margin=1.0),
        oracles.lifted_structure,
        1 - 0.8 + log(exp(0.5) + exp(0.1)),
        (1, 1 / (1 + exp(-0.4)), 1 / (1 + exp(0.4))),
    ),
    Case(
        LiftedStructure(alpha=2, beta=50, margin=None),
        oracles.lifted_structure,
        -0.8 + log(exp(25) + exp(5)) / 50,
        (1, 1 / (1 + exp(-20)), 1 / (1 + exp(20))),
    ),
    Case(
        BinomialDeviance(alpha=2, beta=50, base=0.5),
        oracles.binomial_deviance,
        log(1 + exp(-0.6)) + (log(2) + log(1 + exp(-20))) / 2,
        (2 / (1 + exp(0.6)), 12.5, 25 / (1 + exp(20))),
        level="base",
    ),
    Case(
        MultiSimilarity(alpha=2, beta=50, base=0.5),
        oracles.multi_similarity,
        log(1 + exp(-0.6)) / 2 + log(1 + 1 + exp(-20)) / 50,
        (1 / (exp(0.6) + 1), 1 / (2 + exp(-20)), exp(-20) / (2 + exp(-20))),
        level="base",
    ),
]


@dataclass(frozen=True)
class MiningCase:
    mining: PairMining
    oracle: Any

    @property
    def name(self):
        return repr(self.mining)


MINING_CASES = [
    MiningCase(MSMining(0.1), oracles.ms_mining),
    MiningCase(MSMining(0.7), oracles.ms_mining),
    MiningCase(PairMarginMining(0.8, 0.2), oracles.pair_margin_mining),
    MiningCase(BatchHardMining(), oracles.batch_hard_mining),
    MiningCase(EasyHardMining("easy", "semihard"), oracles.easy_hard_mining),
    MiningCase(EasyHardMining("semihard", "hard"), oracles.easy_hard_mining),
    MiningCase(EasyHardMining("hard", "easy", (-0.2, 0.9), (-0.5, 0.6)), oracles.easy_hard_mining),
    MiningCase(EasyHardMining("all", "hard"), oracles.easy_hard_mining),
    MiningCase(HardestNegatives(k=3), oracles.hardest_negatives),
    MiningCase(DistanceWeightedMining(dim=4), oracles.distance_weighted_mining),
]
