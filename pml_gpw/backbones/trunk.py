"""The backbone as a module."""

from torch import Tensor, nn

from .convention import InputConvention


class Backbone(nn.Module):
    """Input convention, network and global pooling: RGB images to features.

    ``features = pool(network(convention(images)))``

    Shapes: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in 0..1, never normalised
    before; result (B, ``features``), floating point, under autocast of its dtype. Memory formats
    pass through, so ``channels_last`` works as in the network.

    Args:
        network: (B, 3, H, W) to a feature map (B, ``features``, h, w).
        features: the number D0 of its channels.
        convention: what the network takes.
        pool: (B, D0, h, w) to (B, D0); ``nn.Identity`` where the network pools itself.

    Errors: ValueError for images of another shape, dtype or range, see ``InputConvention``.
    """

    def __init__(
        self, network: nn.Module, features: int, convention: InputConvention, pool: nn.Module
    ) -> None:
        super().__init__()
        self.convention = convention
        self.network = network
        self.pool = pool
        self.features = features

    def forward(self, images: Tensor) -> Tensor:
        """The features of the images, (B, D0)."""
        features: Tensor = self.pool(self.network(self.convention(images)))
        return features
