"""Losses and exact gradients from pair weightings."""

from .matrix import matrix_losses
from .reference import reference_losses
from .streamed import Pairing, default_chunk_size, streamed_losses

__all__ = [
    "Pairing",
    "default_chunk_size",
    "matrix_losses",
    "reference_losses",
    "streamed_losses",
]
