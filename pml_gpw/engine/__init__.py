"""Losses and exact gradients from pair weightings and minings, in pure torch."""

from .anchor_losses import anchor_losses, mined_pairs
from .batch import AnchorLosses, PairBatch
from .index_pairs import IndexPairs
from .label_pairs import LabelPairs
from .matrix import dense_losses
from .plan import Plan
from .reduction import Reduction
from .reference import reference_losses
from .relation_pairs import RelationPairs, share_a_label
from .similarity import InnerProduct, Similarity

__all__ = [
    "AnchorLosses",
    "IndexPairs",
    "InnerProduct",
    "LabelPairs",
    "PairBatch",
    "Plan",
    "Reduction",
    "RelationPairs",
    "Similarity",
    "anchor_losses",
    "dense_losses",
    "mined_pairs",
    "reference_losses",
    "share_a_label",
]
