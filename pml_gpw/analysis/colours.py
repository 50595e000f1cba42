"""Colours of all plots: told apart in grey by their lightness, and by the colour-blind.

Vermilion and the two blues are after Okabe and Ito (2008), "Color Universal Design".
"""

DARK, MIDDLE, LIGHT = "#0b3c6f", "#d55e00", "#56b4e9"
FIELD = "YlGnBu"
"""The colour map of matrices, light where values are small."""
