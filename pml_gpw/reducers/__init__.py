"""Reducers with PML's interface."""

from .anchor_reducer import AnchorReducer
from .pair_weight_reducer import PairWeightReducer

__all__ = ["AnchorReducer", "PairWeightReducer"]
