"""From a letter and a font face to an image: rendered, then distorted.

Images are white ink on black, uint8.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...optional import import_optional

IMAGE_SIZE = 32  # pixels of a distorted image
MARGIN = 4  # pixels around the letter: corners that move no farther cut off a pixel at most
RENDER_SIZE = 48  # pixels of a rendering: enough to shrink from, fast to render
SCALE = RENDER_SIZE / IMAGE_SIZE  # pixels of a rendering per pixel of a distorted image

GrayscaleImage = NDArray[np.uint8]


def load_font(path: Path) -> Any:
    """Open a font file at the size of the renderings."""
    image_font = import_optional("PIL.ImageFont", "glyphs")
    # The basic layout is compiled into every Pillow; the other needs a library of the system.
    return image_font.truetype(str(path), RENDER_SIZE, layout_engine=image_font.Layout.BASIC)


def render_letter(font: Any, letter: str) -> GrayscaleImage | None:
    """Render the letter in ``font`` as an image (48, 48); None where the face draws nothing.

    The ink is cropped, scaled until its longer side fills the square up to the margin, and
    centred, so that neither size nor height on the line distinguishes two letters.
    """
    image_module = import_optional("PIL.Image", "glyphs")
    mask = font.getmask(letter, mode="L")
    ink = mask.getbbox()
    if ink is None:
        return None
    cropped = image_module.frombytes("L", mask.size, bytes(mask)).crop(ink)
    scale = (RENDER_SIZE - 2 * MARGIN * SCALE) / max(cropped.size)
    width, height = (max(1, round(side * scale)) for side in cropped.size)
    square = image_module.new("L", (RENDER_SIZE, RENDER_SIZE))
    square.paste(
        cropped.resize((width, height), image_module.Resampling.BICUBIC),
        ((RENDER_SIZE - width) // 2, (RENDER_SIZE - height) // 2),
    )
    return np.asarray(square)


def distort(
    rendering: GrayscaleImage,
    generator: np.random.Generator,
    *,
    max_shift: float,
    max_fade: float,
    noise: float,
) -> GrayscaleImage:
    """Return the distorted image (32, 32) of a rendering (48, 48).

    Each corner of the rendering moves by up to ``max_shift`` pixels (so the letter is rotated,
    sheared, stretched and shifted), the ink loses up to the fraction ``max_fade`` of its
    brightness, and each pixel gets Gaussian noise of standard deviation ``noise`` (in gray levels
    of 255).
    """
    image_module = import_optional("PIL.Image", "glyphs")
    corners = np.array([0, 0, 0, 1, 1, 1, 1, 0]) * RENDER_SIZE
    corners = corners + generator.uniform(-max_shift, max_shift, 8) * SCALE
    warped = image_module.fromarray(rendering).transform(
        (IMAGE_SIZE, IMAGE_SIZE),
        image_module.Transform.QUAD,
        tuple(corners),
        image_module.Resampling.BILINEAR,
    )
    image = np.asarray(warped, dtype=np.float64) * generator.uniform(1 - max_fade, 1)
    image += generator.normal(0, noise, image.shape)
    return image.round().clip(0, 255).astype(np.uint8)
