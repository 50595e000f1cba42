"""The backbone as a module: normalization, network, pooling."""

from torch import Tensor, nn
from typing_extensions import override


class Backbone(nn.Module):
    """Input normalization, network and global pooling: RGB images to features.

    ``features = pool(network(convention(images)))``

    Shapes: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in 0..1, not
    normalized; result (B, ``features``), floating point, under autocast of its dtype. Memory
    formats are preserved, so ``channels_last`` works as in the network.

    Args:
        network: maps (B, 3, H, W) to a feature map (B, ``features``, h, w).
        features: the number D0 of its channels.
        convention: the normalization that the network expects.
        pool: maps (B, D0, h, w) to (B, D0); ``nn.Identity`` where the network pools itself.

    Errors: ValueError for images of another shape, dtype or range, see ``InputConvention``.

    >>> import torch
    >>> from pml_gpw.backbones import Backbone, InputConvention
    >>> convention = InputConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> network, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveMaxPool2d(1)
    >>> model = Backbone(network, 8, convention, torch.nn.Sequential(pool, torch.nn.Flatten()))
    >>> model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, network: nn.Module, features: int, convention: nn.Module, pool: nn.Module
    ) -> None:
        super().__init__()
        self.convention = convention
        self.network = network
        self.pool = pool
        self.features = features

    @override
    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.pool(self.network(self.convention(images)))
        return features
