"""Image files as RGB images."""

from typing import Any

from ..optional import import_optional


def open_rgb(path: str) -> Any:
    """Return the file as a PIL image of mode RGB, or raise a ValueError that names it.

    Grayscale, palette and transparent images are converted (transparency is dropped). The
    orientation that a camera records is not applied, as in the published results.
    """
    image_module = import_optional("PIL.Image", "datasets")
    try:
        with image_module.open(path) as file:
            return file.convert("RGB")
    except Exception as error:  # decoders of damaged files raise exceptions of every kind
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
