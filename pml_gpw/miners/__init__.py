"""Miners with PML's interface."""

from .ms_miner import MSMiner

__all__ = ["MSMiner"]
