"""Pair weights looked at: what any loss weighs, and which similarities it uses."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .pair_weight_table import PairWeightTable
    from .pair_weights import pair_weights
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

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "PairWeightRecorder": "recorder",
        "PairWeightTable": "pair_weight_table",
        "SimilarityUsage": "usage",
        "pair_weights": "pair_weights",
        "similarity_usage": "usage",
        "summarize": "summary",
    },
)
