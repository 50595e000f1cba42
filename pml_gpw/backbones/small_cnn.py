"""A small network for small images, such as those of ``Glyphs``."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from .feature_extractor import FeatureExtractor
from .weights import Weights, load_exactly, read_state_dict, weights_file

CHANNELS, SIDE = 64, 4  # of the feature map of an image of 32x32


class GreyLevels(nn.Module):
    """Images (B, 3, H, W) in RGB or (B, 1, H, W) in grey, to grey levels in 0..1.

    Images are uint8 in 0..255 or floating point in 0..1; the grey level is the mean of the colours.

    Errors: ValueError for images of another shape or dtype.
    """

    @override
    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"images must have shape (B, 3, H, W) or (B, 1, H, W), got {tuple(images.shape)}"
            )
        if images.is_floating_point():
            grey = images
        elif images.dtype == torch.uint8:
            grey = images.float() / 255
        else:
            raise ValueError(
                f"images must be uint8 in 0..255 or floating point in 0..1, got {images.dtype}"
            )
        return grey if grey.shape[1] == 1 else grey.mean(1, keepdim=True)


def feature_extractor(pooling: str, weights: Weights) -> FeatureExtractor:
    """Return the network of 24,000 parameters and its grey levels.

    Its own pooling is the average to 4x4, which is the feature map itself for images of 32x32, and
    gives 1,024 features.
    """
    if weights == "pretrained":
        raise ValueError("weights must be None or a path for 'small_cnn', got 'pretrained'")
    network = nn.Sequential(
        *_convolution(1, 16, kernel=5, stride=2),
        nn.MaxPool2d(2),
        *_convolution(16, 32),
        nn.MaxPool2d(2),
        *_convolution(32, CHANNELS),
    )
    if (path := weights_file(weights)) is not None:
        load_exactly(network, read_state_dict(path), str(path))
    features = CHANNELS
    if pooling == "own":
        network.extend([nn.AdaptiveAvgPool2d(SIDE), nn.Flatten()])
        features *= SIDE * SIDE
    return FeatureExtractor(network, features, GreyLevels())


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
