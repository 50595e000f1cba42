"""Miners: objects of pytorch-metric-learning 2 where it is there, else plain torch modules."""

from typing import TYPE_CHECKING

from .hosts import exports, former_modules

if TYPE_CHECKING:
    from .modules import MSMiner, PairMiner

__all__ = ["MSMiner", "PairMiner"]

__getattr__, __dir__ = exports(__name__, __all__)

former_modules(__name__, {"ms_miner": "miners", "pair_miner": "miners"})
