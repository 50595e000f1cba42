"""Miners: objects of pytorch-metric-learning 2 where it is there, else plain torch modules."""

from typing import TYPE_CHECKING

from .hosts import former_modules, object_of
from .lazy import lazy_names

if TYPE_CHECKING:
    from .modules import MSMiner, PairMiner

__all__ = ["MSMiner", "PairMiner"]

__getattr__, __dir__ = lazy_names(__name__, __all__, object_of)

former_modules(__name__, {"ms_miner": "miners", "pair_miner": "miners"})
