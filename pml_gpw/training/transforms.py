"""Views of an image for a network: the crops of the released Multi-Similarity configuration.

Images stay uint8 in 0..255: a backbone of this package normalizes them itself.
"""

from typing import Any

from .. import checks
from ..optional import import_optional


def train_transform(resize: int = 256, crop: int = 227, smallest_crop: float = 0.16) -> Any:
    """Resize, random resized crop and random flip of an image of PIL.

    Args:
        resize: pixels of the shorter side before cropping.
        crop: pixels of each side of the result.
        smallest_crop: the smallest share of the area that a crop may have, in (0, 1].

    Returns:
        A transform to tensors (3, crop, crop), uint8, RGB, of torchvision, which draws from torch's
        random numbers.

    Errors: ValueError for values out of range; ImportError without torchvision
    (``pip install "pml-gpw[training]"``).

    Example:
        >>> from PIL import Image
        >>> from pml_gpw.training import train_transform
        >>> image = train_transform(resize=32, crop=24)(Image.new("L", (60, 40)))
        >>> image.shape, image.dtype
        (torch.Size([3, 24, 24]), torch.uint8)
    """
    checks.positive("smallest_crop", smallest_crop)
    if smallest_crop > 1:
        raise ValueError(f"smallest_crop must be at most 1, got {smallest_crop}")
    t, resized, crop = _resized(resize, crop)
    views = t.RandomResizedCrop(crop, (smallest_crop, 1)), t.RandomHorizontalFlip()
    return t.Compose([*resized, *views, t.PILToTensor()])


def evaluation_transform(resize: int = 256, crop: int = 227) -> Any:
    """Resize and centre crop of an image of PIL; arguments and result as :func:`train_transform`.

    Example:
        >>> from PIL import Image
        >>> from pml_gpw.training import evaluation_transform
        >>> evaluation_transform(resize=32, crop=24)(Image.new("RGB", (60, 40))).shape
        torch.Size([3, 24, 24])
    """
    t, resized, crop = _resized(resize, crop)
    return t.Compose([*resized, t.CenterCrop(crop), t.PILToTensor()])


def _resized(resize: int, crop: int) -> Any:
    """The transforms of torchvision, those that resize an image, and the pixels of its crop."""
    resize, crop = checks.positive_integer("resize", resize), checks.positive_integer("crop", crop)
    transforms = import_optional("torchvision.transforms", "training")
    return transforms, (_to_rgb, transforms.Resize(resize)), crop


def _to_rgb(image: Any) -> Any:
    return image if image.mode == "RGB" else image.convert("RGB")
