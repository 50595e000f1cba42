"""Miners with PML's interface."""

from .ms_miner import MSMiner
from .pair_miner import PairMiner

__all__ = ["MSMiner", "PairMiner"]
