"""Exact Recall@K, as a function and as an accuracy calculator of pytorch-metric-learning."""

from .calculator import RecallCalculator
from .recall import recall_at_k

__all__ = ["RecallCalculator", "recall_at_k"]
