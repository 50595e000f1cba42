"""Exact Recall@K, as a function, on a data set, and as an accuracy calculator of PML."""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

if TYPE_CHECKING:
    from .calculator import RecallCalculator
    from .metrics import recall_at_k
    from .model_recall import dataset_recall

__all__ = ["RecallCalculator", "dataset_recall", "recall_at_k"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "RecallCalculator": "calculator",
        "dataset_recall": "model_recall",
        "recall_at_k": "metrics",
    },
)
