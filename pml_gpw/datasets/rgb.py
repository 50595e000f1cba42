"""Image files as RGB images."""

from typing import Any

from ..optional import import_optional

Colour = tuple[int, int, int]


def open_rgb(path: str, background: Colour | None = None) -> Any:
    """Return the file as a PIL image of mode RGB, or raise a ValueError that names it.

    Grayscale, palette and transparent images are converted. Transparent images are composited on
    the colour ``background``; None drops the transparency and keeps the colours that it hid, as in
    the published results. The orientation that a camera records is not applied, as there.
    """
    image_module = import_optional("PIL.Image", "datasets")
    try:
        with image_module.open(path) as file:
            if background is None or not file.has_transparency_data:
                return file.convert("RGB")
            image = file.convert("RGBA")
            canvas = image_module.new("RGBA", image.size, (*background, 255))
            return image_module.alpha_composite(canvas, image).convert("RGB")
    except Exception as error:  # decoders of damaged files raise exceptions of every kind
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
