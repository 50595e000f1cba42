"""Global poolings: feature maps (B, D0, h, w) to features (B, D0)."""

from torch import Tensor, nn


class GlobalAverage(nn.Module):
    """The mean of each channel over the map."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D0, h, w) -> (B, D0)."""
        return maps.mean((2, 3))


class GlobalMax(nn.Module):
    """The maximum of each channel over the map; equal maxima share the gradient."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D0, h, w) -> (B, D0)."""
        return maps.amax((2, 3))  # unlike adaptive_max_pool2d, deterministic on GPUs


class GlobalSum(nn.Module):
    """Global maximum plus global average, as in Kim et al., Proxy Anchor Loss, CVPR 2020."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D0, h, w) -> (B, D0)."""
        return maps.amax((2, 3)) + maps.mean((2, 3))


POOLINGS: dict[str, type[nn.Module]] = {
    "average": GlobalAverage,
    "max": GlobalMax,
    "sum": GlobalSum,
    "own": nn.Identity,  # the network pools
}
