"""Pair weightings: one formula a file, in pure torch."""

from .base import PairWeighting, PairWeights
from .binomial_deviance import BinomialDeviance
from .constant import Constant
from .contrastive import Contrastive
from .lifted_structure import LiftedStructure
from .multi_similarity import MultiSimilarity
from .triplet import Triplet

__all__ = [
    "BinomialDeviance",
    "Constant",
    "Contrastive",
    "LiftedStructure",
    "MultiSimilarity",
    "PairWeighting",
    "PairWeights",
    "Triplet",
]
