"""Pair minings: which pairs count, one rule a file, in pure torch."""

from .base import PairMining
from .batch_hard import BatchHardMining
from .check import check_mining
from .distance_weighted import DistanceWeightedMining
from .easy_hard import EasyHardMining
from .hardest_negatives import HardestNegatives
from .multi_similarity import MSMining
from .pair_margin import PairMarginMining

__all__ = [
    "BatchHardMining",
    "DistanceWeightedMining",
    "EasyHardMining",
    "HardestNegatives",
    "MSMining",
    "PairMarginMining",
    "PairMining",
    "check_mining",
]
