"""Exact Recall@K, as a function, on a data set, and as an accuracy calculator of PML."""

from .calculator import RecallCalculator
from .datasets import dataset_recall
from .recall import recall_at_k

__all__ = ["RecallCalculator", "dataset_recall", "recall_at_k"]
