"""Exact Recall@K, as a function, on a data set, and as an accuracy calculator of PML."""

from .calculator import RecallCalculator
from .metrics import recall_at_k
from .model_recall import dataset_recall

__all__ = ["RecallCalculator", "dataset_recall", "recall_at_k"]
