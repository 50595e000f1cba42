"""From RGB images to what a network was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS = ("RGB", "BGR")
SCALES = (1, 255)
# Resizing and colour jitter in float arithmetic may overshoot [0, 1] by rounding.
ROUNDING = 1e-3


class InputConvention(nn.Module):
    """Reorder, scale and normalise RGB images: ``(scale · image[channels] - mean) / std``.

    The convention belongs to the weights of a network: with another one it computes features
    without an error, only worse ones. So it is a part of the model and not of a data pipeline.

    Shapes: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in 0..1; the result has
    the same shape and memory format and the dtype of ``mean``, which moves with the model's
    parameters. ``mean`` and ``std`` are buffers (1, 3, 1, 1) that state dicts do not hold.

    Args:
        mean, std: three numbers each, in the order ``channels``, in units of ``scale``.
        channels: the order that the network takes, "RGB" or "BGR".
        scale: the value of full intensity that the network takes, 1 or 255.

    Errors: ValueError for other arguments, and for images of another shape or dtype. The values
    of floating-point images are looked at in the first batch only.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        channels: str = "RGB",
        scale: int = 1,
    ) -> None:
        super().__init__()
        if channels not in CHANNELS:
            raise ValueError(f"channels must be 'RGB' or 'BGR', got {channels!r}")
        if scale not in SCALES:
            raise ValueError(f"scale must be 1 or 255, got {scale!r}")
        if len(mean) != 3:
            raise ValueError(f"mean must have 3 numbers, got {mean!r}")
        if len(std) != 3 or not all(value > 0 for value in std):
            raise ValueError(f"std must have 3 numbers > 0, got {std!r}")
        self.channels = channels
        self.scale = scale
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)
        self._values_checked = False

    def forward(self, images: Tensor) -> Tensor:
        """The normalised images, (B, 3, H, W)."""
        self._check(images)
        full = 255 if images.dtype == torch.uint8 else 1
        images = images.to(self.mean.dtype)
        if full != self.scale:
            images = images * (self.scale / full)
        if self.channels == "BGR":
            images = images.flip(1)
        return (images - self.mean) / self.std

    def _check(self, images: Tensor) -> None:
        if not isinstance(images, Tensor):
            raise ValueError(f"images must be a torch.Tensor, got {type(images).__name__}")
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), RGB, got {tuple(images.shape)}")
        if images.dtype == torch.uint8:
            return
        if not images.is_floating_point():
            raise ValueError(
                f"images must be uint8 in 0..255 or floating point in 0..1, got {images.dtype}"
            )
        # Reading values from a GPU waits for it, and a branch on values cannot be traced. A wrong
        # pipeline is wrong from its first batch on.
        if self._values_checked or images.numel() == 0 or torch.compiler.is_compiling():
            return
        low, high = (value.item() for value in torch.aminmax(images.detach()))
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # in this form it catches NaN
            raise ValueError(
                f"images must be in 0..1 where they are floating point, got {low:.4g} to "
                f"{high:.4g}; grey levels 0..255 are uint8, and normalisation is left to the model"
            )
        self._values_checked = True

    def extra_repr(self) -> str:
        """The arguments, for ``print(model)``."""
        mean, std = (tuple(buffer.flatten().tolist()) for buffer in (self.mean, self.std))
        return f"mean={mean}, std={std}, channels={self.channels!r}, scale={self.scale}"


def imagenet() -> InputConvention:
    """That of torchvision and most ImageNet weights: RGB in 0..1, mean and std of ImageNet."""
    return InputConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
