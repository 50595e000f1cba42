"""The normalization of RGB images that a network was trained with."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

CHANNELS = ("RGB", "BGR")
SCALES = (1, 255)
# Resizing and colour jitter in float arithmetic may overshoot [0, 1] by rounding.
TOLERANCE = 1e-3


class InputConvention(nn.Module):
    """Reorder, scale and normalize RGB images: ``(scale · image[channels] - mean) / std``.

    The normalization belongs to the weights of a network: with another one, the network computes
    worse features and raises no error. So it is a part of the model and not of a data pipeline.

    Shapes: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in 0..1; the result has
    the same shape and memory format and the dtype of ``mean``, which moves with the model's
    parameters. ``mean`` and ``std`` are buffers (1, 3, 1, 1) that state dicts do not hold.

    Args:
        mean, std: three numbers each, in the order ``channels``, in units of ``scale``.
        channels: the order that the network expects, "RGB" or "BGR".
        scale: the value of full intensity that the network expects, 1 or 255.

    Errors: ValueError for other arguments, and for images of another shape or dtype. The values
    of floating-point images are checked in the first batch only.

    >>> import torch
    >>> from pml_gpw.backbones import InputConvention
    >>> caffe = InputConvention((104, 117, 128), (1, 1, 1), channels="BGR", scale=255)
    >>> red = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    >>> caffe(red).flatten().tolist()
    [-104.0, -117.0, 127.0]
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
        self.register_buffer("mean", _channel_buffer(mean), persistent=False)
        self.register_buffer("std", _channel_buffer(std), persistent=False)
        self._values_checked = False

    @override
    def forward(self, images: Tensor) -> Tensor:
        self._check_images(images)
        image_scale = 255 if images.dtype == torch.uint8 else 1
        images = images.to(self.mean.dtype)
        if image_scale != self.scale:
            images = images * (self.scale / image_scale)
        if self.channels == "BGR":
            images = images.flip(1)
        return (images - self.mean) / self.std

    def _check_images(self, images: Tensor) -> None:
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
        # Reading values from a GPU waits for it, and a branch on values cannot be traced. An
        # error of the data pipeline shows in its first batch.
        if self._values_checked or images.numel() == 0 or torch.compiler.is_compiling():
            return
        low, high = (value.item() for value in torch.aminmax(images.detach()))
        if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # also False for NaN
            raise ValueError(
                f"images must be in 0..1 where they are floating point, got {low:.4g} to "
                f"{high:.4g}; grey levels 0..255 are uint8, and normalization is left to the model"
            )
        self._values_checked = True

    @override
    def extra_repr(self) -> str:
        mean, std = (tuple(buffer.flatten().tolist()) for buffer in (self.mean, self.std))
        return f"mean={mean}, std={std}, channels={self.channels!r}, scale={self.scale}"


def imagenet_normalization() -> InputConvention:
    """Return that of most ImageNet weights: RGB in 0..1, the mean and std of ImageNet."""
    return InputConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def caffe_normalization() -> InputConvention:
    """Return that of the Caffe BN-Inception: BGR in 0..255, minus the mean of ImageNet."""
    return InputConvention((104, 117, 128), (1, 1, 1), channels="BGR", scale=255)


def _channel_buffer(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 3, 1, 1)
