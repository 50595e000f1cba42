"""Pair weightings: one formula a file, in pure torch."""

from .base import PairWeighting, PairWeights
from .binomial_deviance import BinomialDeviance
from .check import check_weighting
from .circle import Circle
from .constant import Constant
from .contrastive import Contrastive
from .decoupled import Decoupled
from .dense_rows import DenseRows
from .fast_ap import FastAP
from .graded_contrastive import GradedContrastive
from .hard_nt_xent import HardNTXent
from .lifted_structure import LiftedStructure
from .margin import Margin
from .multi_similarity import MultiSimilarity
from .nt_xent import NPair, NTXent
from .pair_rows import Rows
from .ranked_list import RankedList
from .row_loss import RowLoss
from .rules import Positive
from .search_range import Range
from .sigmoid import Sigmoid
from .sparse_rows import SparseRows
from .sup_con import GradedSupCon, SupCon
from .triplet import Triplet
from .tuplet_margin import TupletMargin

__all__ = [
    "BinomialDeviance",
    "Circle",
    "Constant",
    "Contrastive",
    "Decoupled",
    "DenseRows",
    "FastAP",
    "GradedContrastive",
    "GradedSupCon",
    "HardNTXent",
    "LiftedStructure",
    "Margin",
    "MultiSimilarity",
    "NPair",
    "NTXent",
    "PairWeighting",
    "PairWeights",
    "Positive",
    "Range",
    "RankedList",
    "RowLoss",
    "Rows",
    "Sigmoid",
    "SparseRows",
    "SupCon",
    "Triplet",
    "TupletMargin",
    "check_weighting",
]
