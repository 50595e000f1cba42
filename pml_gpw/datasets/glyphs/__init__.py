"""Glyphs: the data set that needs no download, drawn from fonts."""

from .glyphs import Glyphs

__all__ = ["Glyphs"]
