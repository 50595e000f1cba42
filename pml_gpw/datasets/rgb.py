"""Image files read as RGB."""

from typing import Any

from ..optional import optional


def open_rgb(path: str) -> Any:
    """The file as a PIL image of mode RGB, or a ValueError naming it.

    Grey, palette and transparent images are converted (transparency is dropped); the orientation
    that a camera notes is not applied, as in the published results.
    """
    image = optional("PIL.Image", "datasets")
    try:
        with image.open(path) as file:
            return file.convert("RGB")
    except Exception as error:  # damaged files make decoders raise whatever they meet
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
