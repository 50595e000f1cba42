"""Backbones by name."""

from . import bn_inception, timm_models, torchvision_models
from .freeze import freeze_batch_norm
from .network import nearest
from .pooling import POOLINGS
from .trunk import Backbone
from .weights import Weights, checked_weights

LIBRARIES = {"timm": timm_models.network, "torchvision": torchvision_models.network}
NAMES = ("bn_inception", *(f"{library}/resnet50" for library in LIBRARIES))


def backbone(
    name: str,
    pooling: str = "average",
    weights: Weights = None,
    frozen_batch_norm: bool = False,
) -> Backbone:
    """A network without its classifier, with the input convention of its weights and a pooling.

    ``backbone(name)(images)``: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in
    0..1, to features (B, D0), with D0 as attribute ``features``. Reordering, scaling and
    normalisation happen inside, so one data pipeline serves every network.

    Args:
        name: "bn_inception" (D0 = 1024), "timm/<model>" or "torchvision/<model>", the last for
            classification models.
        pooling: "average" or "max" over the feature map, "sum" of both, or "own", what the
            network does before its last linear layer: the only one for networks of tokens, such
            as ViTs. BN-Inception's own is the average.
        weights: None, random; "pretrained", those of the library, which downloads them; or the
            path of a state dict: for BN-Inception the published checkpoint, see
            ``load_bn_inception``, otherwise of the library's model of that name, with or without
            its classifier.
        frozen_batch_norm: keep the running statistics, see ``freeze_batch_norm``.

    Conventions: BN-Inception takes BGR in 0..255 minus (104, 117, 128), with pytorchcv's own
    weights ("pretrained") RGB in 0..1 with mean and std of ImageNet; timm and torchvision models
    what the library says of their weights.

    Errors: ValueError for an unknown name (with the nearest ones) or pooling, a pooling that the
    network has no feature map for, a file that is missing, damaged, holds code or does not fit;
    ImportError without the library (``pip install "pml-gpw[backbones]"``).
    """
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    checked_weights(weights)
    library, _, model = str(name).partition("/")
    if name == "bn_inception":
        network = bn_inception.network(pooling, weights)
    elif library in LIBRARIES and model:
        network = LIBRARIES[library](model, pooling, weights)
    else:
        raise ValueError(
            "name must be 'bn_inception', 'timm/<model>' or 'torchvision/<model>', got "
            f"{name!r}{nearest(str(name), NAMES)}"
        )
    made = Backbone(network.body, network.features, network.convention, POOLINGS[pooling]())
    return freeze_batch_norm(made) if frozen_batch_norm else made
