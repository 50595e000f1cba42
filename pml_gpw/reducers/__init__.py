"""Reducers with PML's interface."""

from .pair_weight_reducer import PairWeightReducer

__all__ = ["PairWeightReducer"]
