"""Pair weights as a microscope: what any loss weighs, and which similarities it uses."""

from .pair_weights import PairWeightTable, pair_weights
from .recorder import PairWeightRecorder
from .summary import summarize
from .usage import SimilarityUsage, similarity_usage

__all__ = [
    "PairWeightRecorder",
    "PairWeightTable",
    "SimilarityUsage",
    "pair_weights",
    "similarity_usage",
    "summarize",
]
