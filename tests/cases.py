"""One row per public weighting and mining: ``CASES`` of the paper, ``FIELD_CASES`` of the field.

Of a weighting: what it is, its oracle, and its numbers on four points by hand.

The four points have labels 0, 0, 1, 1 and the similarities of ``FOUR_POINTS``. Anchor 0 has the
positive 0.8 and the negatives 0.5 and 0.1; its loss and weights are written out below.
"""

from dataclasses import dataclass, field
from math import acos, cos, exp, log, radians, sin, sqrt
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
    Circle,
    Constant,
    Contrastive,
    Decoupled,
    FastAP,
    GradedContrastive,
    GradedSupCon,
    HardNTXent,
    LiftedStructure,
    Margin,
    MultiSimilarity,
    NPair,
    NTXent,
    PairWeighting,
    RankedList,
    Sigmoid,
    SupCon,
    Triplet,
    TupletMargin,
)

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
    weighting: PairWeighting
    oracle: Any
    loss: float
    weights: tuple[float, float, float]  # of the pairs (0, 1), (0, 2), (0, 3)
    level: str = ""  # the field that is a level on the similarity axis
    #: Fields at which exponentials leave the range of floats.
    extremes: dict = field(default_factory=dict)
    #: True where the gradient leaves out what a paper holds constant.
    holds_constants: bool = False

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
        extremes=SHARP,
    ),
    Case(
        LiftedStructure(alpha=2, beta=50, margin=None),
        oracles.lifted_structure,
        -0.8 + log(exp(25) + exp(5)) / 50,
        (1, 1 / (1 + exp(-20)), 1 / (1 + exp(20))),
        extremes=SHARP,
    ),
    Case(
        BinomialDeviance(alpha=2, beta=50, base=0.5),
        oracles.binomial_deviance,
        log(1 + exp(-0.6)) + (log(2) + log(1 + exp(-20))) / 2,
        (2 / (1 + exp(0.6)), 12.5, 25 / (1 + exp(20))),
        level="base",
        extremes=SHARP,
    ),
    Case(
        MultiSimilarity(alpha=2, beta=50, base=0.5),
        oracles.multi_similarity,
        log(1 + exp(-0.6)) / 2 + log(1 + 1 + exp(-20)) / 50,
        (1 / (exp(0.6) + 1), 1 / (2 + exp(-20)), exp(-20) / (2 + exp(-20))),
        level="base",
        extremes=SHARP,
    ),
]
# NT-Xent at 1/2: the negatives against the positive 0.8.
E1, E2 = exp((0.5 - 0.8) / 0.5), exp((0.1 - 0.8) / 0.5)
# Weighted once more by e^(s/τ), of mean 1.
H1, H2 = exp(2 * 0.5 / 0.5), exp(2 * 0.1 / 0.5)
HARD = 2 * (H1 + H2) / (exp(0.5 / 0.5) + exp(0.1 / 0.5)) * exp(-0.8 / 0.5)
# The positive seen 10 degrees closer, at scale 8.
CLOSER, SLOPE = cos(acos(0.8) - radians(10)), sin(acos(0.8) - radians(10)) / sin(acos(0.8))
T1, T2 = exp(8 * (0.5 - CLOSER)), exp(8 * (0.1 - CLOSER))
# Circle at m = 0.25, γ = 4.
C1, C2 = exp(4 * 0.75 * 0.25), exp(4 * 0.35 * -0.15)
CIRCLE = exp(-4 * 0.45 * 0.05) * (C1 + C2)
D_P, D_2 = sqrt(0.4), sqrt(1.8)  # the distances of 0.8 and 0.1; that of 0.5 is 1
R1, R2 = exp(2 * 0.4), exp(2 * (1.4 - D_2))

FIELD_CASES = [
    Case(
        NTXent(temperature=0.5),
        oracles.nt_xent,
        log(1 + E1 + E2),
        (2 * (E1 + E2) / (1 + E1 + E2), 2 * E1 / (1 + E1 + E2), 2 * E2 / (1 + E1 + E2)),
        extremes=COLD,
    ),
    Case(
        NPair(),
        oracles.nt_xent,
        log(1 + sqrt(E1) + sqrt(E2)),
        (
            1 - 1 / (1 + sqrt(E1) + sqrt(E2)),
            sqrt(E1) / (1 + sqrt(E1) + sqrt(E2)),
            sqrt(E2) / (1 + sqrt(E1) + sqrt(E2)),
        ),
    ),
    Case(
        Decoupled(temperature=0.5),
        oracles.decoupled,
        log(E1 + E2),
        (2, 2 * E1 / (E1 + E2), 2 * E2 / (E1 + E2)),
        extremes=COLD,
    ),
    Case(
        HardNTXent(temperature=0.5, beta=1.0),
        oracles.hard_nt_xent,
        log(1 + HARD),
        (
            2 * HARD / (1 + HARD),
            2 * HARD / (1 + HARD) * (2 * H1 / (H1 + H2) - E1 / (E1 + E2)),
            2 * HARD / (1 + HARD) * (2 * H2 / (H1 + H2) - E2 / (E1 + E2)),
        ),
        extremes=COLD,
    ),
    Case(
        SupCon(temperature=0.5),
        oracles.sup_con,
        log(1 + E1 + E2),
        (2 * (E1 + E2) / (1 + E1 + E2), 2 * E1 / (1 + E1 + E2), 2 * E2 / (1 + E1 + E2)),
        extremes=COLD,
    ),
    Case(
        GradedSupCon(temperature=0.25),
        oracles.sup_con,
        log(1 + E1**2 + E2**2),
        (
            4 - 4 / (1 + E1**2 + E2**2),
            4 * E1**2 / (1 + E1**2 + E2**2),
            4 * E2**2 / (1 + E1**2 + E2**2),
        ),
        extremes=COLD,
    ),
    Case(
        TupletMargin(margin=10, scale=8),
        oracles.tuplet_margin,
        log(1 + T1 + T2),
        (8 * SLOPE * (1 - 1 / (1 + T1 + T2)), 8 * T1 / (1 + T1 + T2), 8 * T2 / (1 + T1 + T2)),
        extremes={"scale": 1000.0},
    ),
    Case(
        Circle(m=0.25, gamma=4),
        oracles.circle,
        log(1 + CIRCLE),
        (
            4 * 0.45 * CIRCLE / (1 + CIRCLE),
            4 * 0.75 * C1 / (C1 + C2) * CIRCLE / (1 + CIRCLE),
            4 * 0.35 * C2 / (C1 + C2) * CIRCLE / (1 + CIRCLE),
        ),
        extremes={"gamma": 1000.0},
        holds_constants=True,
    ),
    Case(
        Sigmoid(scale=10, bias=-5),
        oracles.sigmoid,
        log(1 + exp(-3)) + log(2) + log(1 + exp(-4)),
        (10 / (1 + exp(3)), 5, 10 / (1 + exp(4))),
        extremes={"scale": 1000.0},
    ),
    Case(
        Margin(margin=0.2, beta=0.7),
        oracles.margin,
        max(D_P - 0.5, 0),
        (1 / D_P, 0, 0),
    ),
    Case(
        Margin(margin=0.5, beta=0.9, per_triplet=True),
        oracles.margin,
        2 * (D_P - 0.4) + 0.4 + (1.4 - D_2),
        (2 / D_P, 1, 1 / D_2),
    ),
    Case(RankedList(), oracles.ranked_list, 0.1, (0, 0.5, 0), holds_constants=True),
    Case(
        RankedList(margin=0.8, tn=2, imbalance=0.3, alpha=1.4, tp=1),
        oracles.ranked_list,
        0.7 * (D_P - 0.6) + 0.3 * (0.4 * R1 + (1.4 - D_2) * R2) / (R1 + R2),
        (0.7 / D_P, 0.3 * R1 / (R1 + R2), 0.3 * R2 / (R1 + R2) / D_2),
        extremes={"tn": 1000.0, "tp": 1000.0},
        holds_constants=True,
    ),
    Case(FastAP(num_bins=6), oracles.fast_ap, 0.2, (1, 0.8, 0)),
    Case(
        GradedContrastive(margin=1.1),
        oracles.graded_contrastive,
        0.2 + 0.1**2 / 2,
        (1, 0.1, 0),
    ),
]
EVERY_CASE = FIELD_CASES + CASES


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
