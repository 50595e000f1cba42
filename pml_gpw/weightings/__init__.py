"""Pair weightings: one formula a file, in pure torch."""

from .base import PairWeighting, PairWeights
from .binomial_deviance import BinomialDeviance
from .check import check_weighting
from .constant import Constant
from .contrastive import Contrastive
from .dense_rows import DenseRows
from .lifted_structure import LiftedStructure
from .multi_similarity import MultiSimilarity
from .pair_rows import Rows
from .row_loss import RowLoss
from .rules import Positive
from .sparse_rows import SparseRows
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
    "Positive",
    "RowLoss",
    "Rows",
    "SparseRows",
    "Triplet",
    "check_weighting",
]
