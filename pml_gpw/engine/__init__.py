"""Losses and exact gradients from pair weightings."""

from .candidates import Candidates, Labelled, Listed
from .matrix import matrix_losses
from .mined import mined_pairs
from .reference import reference_losses
from .streamed import streamed_losses
from .walk import Pairing, default_chunk_size

__all__ = [
    "Candidates",
    "Labelled",
    "Listed",
    "Pairing",
    "default_chunk_size",
    "matrix_losses",
    "mined_pairs",
    "reference_losses",
    "streamed_losses",
]
