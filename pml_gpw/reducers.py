"""Reducers of pytorch-metric-learning 2; plain losses have ``reduction=`` instead."""

from typing import TYPE_CHECKING

from .hosts import exports, former_modules

if TYPE_CHECKING:
    from .hosts.pml2 import AnchorReducer, PairWeightReducer

__all__ = ["AnchorReducer", "PairWeightReducer"]

__getattr__, __dir__ = exports(__name__, __all__)

former_modules(__name__, {"pair_weight_reducer": "pair_weight_reducer"})
