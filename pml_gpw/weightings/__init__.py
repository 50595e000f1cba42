"""Pair weightings: one formula a file, in pure torch."""

from .base import PairWeighting, PairWeights
from .binomial_deviance import BinomialDeviance
from .constant import Constant
from .contrastive import Contrastive
from .lifted_structure import LiftedStructure
from .multi_similarity import MultiSimilarity
from .pair_rows import DenseRows, Rows, SparseRows
from .triplet import Triplet

__all__ = [
    "BinomialDeviance",
    "Constant",
    "Contrastive",
    "DenseRows",
    "LiftedStructure",
    "MultiSimilarity",
    "PairWeighting",
    "PairWeights",
    "Rows",
    "SparseRows",
    "Triplet",
]
