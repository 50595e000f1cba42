"""Image files as RGB images."""

from typing import Any

import numpy as np

from ..optional import import_optional

Colour = tuple[int, int, int]
BITS_PER_SAMPLE = 258  # a tag of TIFF


def open_rgb(path: str, background: Colour | None = None, exif_orientation: bool = False) -> Any:
    """Return the file as a PIL image of mode RGB, or raise a ValueError that names it.

    Grayscale, palette and transparent images are converted. Transparent images are composited on
    the colour ``background``; None drops the transparency and keeps the colours that it hid, as in
    the published results. ``exif_orientation`` turns the image as its camera recorded; the
    published results do not. Grey values of 16 bits, 0..65535, and of floating point, 0..1, are
    scaled to 0..255; integers of 32 bits and other floating-point numbers are refused.
    """
    image_module = import_optional("PIL.Image", "datasets")
    try:
        with image_module.open(path) as file:
            if exif_orientation:
                import_optional("PIL.ImageOps", "datasets").exif_transpose(file, in_place=True)
            image = _of_eight_bits(file, image_module) if file.mode[0] in "IF" else file
            if background is None or not image.has_transparency_data:
                return image.convert("RGB")
            image = image.convert("RGBA")
            canvas = image_module.new("RGBA", image.size, (*background, 255))
            return image_module.alpha_composite(canvas, image).convert("RGB")
    except Exception as error:  # decoders of damaged files raise exceptions of every kind
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _of_eight_bits(grey: Any, image_module: Any) -> Any:
    """A grey image of mode I or F in mode L, which Pillow would cut off at 255."""
    bits = getattr(grey, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))[0]  # in TIFF also 12
    largest = 1 if grey.mode == "F" else 2**bits - 1
    if grey.mode == "I" and grey.format not in ("PNG", "PPM"):  # which have 16 bits at most
        raise ValueError("its 32-bit integers have no known range: save it with 8 or 16 bits")
    values = np.asarray(grey, np.float32)
    if not (values.min() >= 0 and values.max() <= largest):
        raise ValueError(
            f"its grey values must be in 0..{largest}, got {values.min():g} to {values.max():g}"
        )
    image = image_module.fromarray((values * (255 / largest)).round().astype(np.uint8))
    if "transparency" in grey.info:
        image.info["transparency"] = round(grey.info["transparency"] * 255 / largest)
    return image
