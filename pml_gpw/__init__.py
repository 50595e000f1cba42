"""General Pair Weighting and the Multi-Similarity loss for pytorch-metric-learning."""

from .losses import GPWLoss, MSLoss, MSWeightedLoss, ms_variant
from .miners import MSMiner

__all__ = ["GPWLoss", "MSLoss", "MSMiner", "MSWeightedLoss", "ms_variant"]
