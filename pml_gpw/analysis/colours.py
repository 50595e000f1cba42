"""Colours of all plots: told apart in grey by their lightness, and by the colour-blind.

Vermilion and the two blues are after Okabe and Ito (2008), "Color Universal Design".
"""

DARK, MIDDLE, LIGHT = "#0b3c6f", "#d55e00", "#56b4e9"
LINES = (DARK, MIDDLE, LIGHT, "#000000", "#009e73", "#cc79a7", "#e69f00", "#999999")
"""Of lines, which differ by dashes and markers too."""
FIELD = "YlGnBu"
"""The colour map of matrices, light where values are small."""
