"""Reducers of pytorch-metric-learning 2; plain losses have ``reduction=`` instead."""

from typing import TYPE_CHECKING

from .hosts import exports

if TYPE_CHECKING:
    from .hosts.pml2 import AnchorReducer, PairWeightReducer

__all__ = ["AnchorReducer", "PairWeightReducer"]

__getattr__, __dir__ = exports(__name__, __all__, former=("pair_weight_reducer",))
