"""Losses and exact gradients from pair weightings and minings, in pure torch."""

from .anchor_losses import anchor_losses, mined_pairs
from .chunks import Plan, StreamedBatch, iter_chunks
from .dense import dense_losses
from .index_pairs import IndexPairs
from .label_pairs import LabelPairs
from .pair_batch import AnchorLosses, PairBatch
from .reference import reference_losses
from .relation_pairs import RelationPairs, share_a_label
from .similarity import InnerProduct, Similarity
from .streaming import streamed_losses

__all__ = [
    "AnchorLosses",
    "IndexPairs",
    "InnerProduct",
    "LabelPairs",
    "PairBatch",
    "Plan",
    "RelationPairs",
    "Similarity",
    "StreamedBatch",
    "anchor_losses",
    "dense_losses",
    "iter_chunks",
    "mined_pairs",
    "reference_losses",
    "share_a_label",
    "streamed_losses",
]
