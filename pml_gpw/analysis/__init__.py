"""Pair weights looked at: what any loss weighs, and which similarities it uses."""

from ..pair_weight_table import PairWeightTable, summarize
from .pair_weights import pair_weights
from .recorder import PairWeightRecorder
from .usage import SimilarityUsage, similarity_usage

__all__ = [
    "PairWeightRecorder",
    "PairWeightTable",
    "SimilarityUsage",
    "pair_weights",
    "similarity_usage",
    "summarize",
]
