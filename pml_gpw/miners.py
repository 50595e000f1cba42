"""Miners: objects of pytorch-metric-learning 2 where it is there, else plain torch modules."""

from typing import TYPE_CHECKING

from .hosts import exports

if TYPE_CHECKING:
    from .modules import MSMiner, PairMiner

__all__ = ["MSMiner", "PairMiner"]

__getattr__, __dir__ = exports(__name__, __all__, former=("ms_miner", "pair_miner"))
