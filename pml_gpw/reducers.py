"""Reducers of pytorch-metric-learning 2; plain losses have ``reduction=`` instead."""

from typing import TYPE_CHECKING

from .hosts import former_modules, object_of
from .lazy import lazy_names

if TYPE_CHECKING:
    from .hosts.pml2 import AnchorReducer, PairWeightReducer

__all__ = ["AnchorReducer", "PairWeightReducer"]

__getattr__, __dir__ = lazy_names(__name__, __all__, object_of)

former_modules(__name__, {"pair_weight_reducer": "pair_weight_reducer"})
