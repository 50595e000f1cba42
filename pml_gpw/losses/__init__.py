"""Losses with PML's interface."""

from .cross_batch_memory import CrossBatchMemory
from .gpw_loss import GPWLoss
from .ms_loss import MSLoss, MSWeightedLoss
from .pair_similarity_loss import PairSimilarityLoss
from .self_supervised_loss import SelfSupervisedLoss
from .variants import VARIANTS, ms_variant

__all__ = [
    "VARIANTS",
    "CrossBatchMemory",
    "GPWLoss",
    "MSLoss",
    "MSWeightedLoss",
    "PairSimilarityLoss",
    "SelfSupervisedLoss",
    "ms_variant",
]
