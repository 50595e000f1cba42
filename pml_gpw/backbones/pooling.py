"""Global pooling: feature maps (B, D0, h, w) to features (B, D0)."""

from torch import Tensor, nn
from typing_extensions import override


class GlobalAveragePool(nn.Module):
    """The mean of each channel over the feature map."""

    @override
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class GlobalMaxPool(nn.Module):
    """The maximum of each channel over the feature map; equal maxima share the gradient."""

    @override
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax((2, 3))  # unlike adaptive_max_pool2d, deterministic on GPUs


class GlobalSumPool(nn.Module):
    """Global maximum plus global average, as in Kim et al., Proxy Anchor Loss, CVPR 2020."""

    @override
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax((2, 3)) + maps.mean((2, 3))


POOLINGS: dict[str, type[nn.Module]] = {
    "average": GlobalAveragePool,
    "max": GlobalMaxPool,
    "sum": GlobalSumPool,
    "own": nn.Identity,  # the network pools
}
