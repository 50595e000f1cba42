"""Glyphs: the data set that needs no download, rendered from fonts."""

from .glyphs import Glyphs

__all__ = ["Glyphs"]
