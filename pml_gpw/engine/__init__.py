"""Losses and exact gradients from pair weightings."""

from .matrix import matrix_losses
from .reference import reference_losses

__all__ = ["matrix_losses", "reference_losses"]
