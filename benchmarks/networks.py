"""The small network of the default experiment."""

from torch import nn


def small_cnn() -> tuple[nn.Module, int]:
    """A trunk of 24,000 parameters for (B, 1, 32, 32) images, and the number of its features."""
    return (
        nn.Sequential(
            *_convolution(1, 16, kernel=5, stride=2),
            nn.MaxPool2d(2),
            *_convolution(16, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            nn.Flatten(),
        ),
        64 * 4 * 4,
    )


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
