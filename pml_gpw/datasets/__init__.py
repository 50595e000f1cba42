"""Data sets for metric learning whose test classes are never seen in training."""

from .glyphs import Glyphs

__all__ = ["Glyphs"]
