"""From a letter and a font face to a picture: drawn cleanly, then distorted.

Pictures are white ink on black, uint8.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...optional import optional

SIDE = 32  # pixels of a finished picture
MARGIN = 4  # pixels around the letter: corners that move no farther cut off a pixel at most
CLEAN_SIDE = 48  # pixels of a clean drawing: enough to shrink from, cheap to draw
SCALE = CLEAN_SIDE / SIDE  # clean pixels per finished pixel

Picture = NDArray[np.uint8]


def pen(path: Path) -> Any:
    """A font file opened at the size of the clean drawings."""
    fonts = optional("PIL.ImageFont", "glyphs")
    # The basic layout is compiled into every Pillow; the other needs a library of the system.
    return fonts.truetype(str(path), CLEAN_SIDE, layout_engine=fonts.Layout.BASIC)


def clean(font: Any, letter: str) -> Picture | None:
    """The letter drawn in ``font``, (48, 48); None when the face draws nothing.

    The ink is cut out, scaled until its longer side fills the square up to the margin, and
    centred: neither size nor height on the line tells two letters apart.
    """
    image = optional("PIL.Image", "glyphs")
    mask = font.getmask(letter, mode="L")
    ink = mask.getbbox()
    if ink is None:
        return None
    drawing = image.frombytes("L", mask.size, bytes(mask)).crop(ink)
    scale = (CLEAN_SIDE - 2 * MARGIN * SCALE) / max(drawing.size)
    width, height = (max(1, round(side * scale)) for side in drawing.size)
    square = image.new("L", (CLEAN_SIDE, CLEAN_SIDE))
    square.paste(
        drawing.resize((width, height), image.Resampling.BICUBIC),
        ((CLEAN_SIDE - width) // 2, (CLEAN_SIDE - height) // 2),
    )
    return np.asarray(square)


def distorted(
    drawing: Picture,
    generator: np.random.Generator,
    *,
    max_shift: float,
    max_fade: float,
    noise: float,
) -> Picture:
    """The finished picture (32, 32) of a clean drawing (48, 48).

    Each corner of the drawing moves by up to ``max_shift`` pixels (so the letter turns, leans,
    stretches and shifts), the ink loses up to the fraction ``max_fade`` of its brightness, and
    each pixel gets Gaussian noise of standard deviation ``noise`` (in grey levels of 255).
    """
    image = optional("PIL.Image", "glyphs")
    corners = np.array([0, 0, 0, 1, 1, 1, 1, 0]) * CLEAN_SIDE
    corners = corners + generator.uniform(-max_shift, max_shift, 8) * SCALE
    warped = image.fromarray(drawing).transform(
        (SIDE, SIDE), image.Transform.QUAD, tuple(corners), image.Resampling.BILINEAR
    )
    picture = np.asarray(warped, dtype=np.float64) * generator.uniform(1 - max_fade, 1)
    picture += generator.normal(0, noise, picture.shape)
    return picture.round().clip(0, 255).astype(np.uint8)
