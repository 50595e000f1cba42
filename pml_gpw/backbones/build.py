"""Backbones by name."""

from .. import checks
from . import bn_inception, ngram_bag, small_cnn, timm_models, torchvision_models
from .feature_extractor import closest_names
from .freeze import freeze_batch_norm
from .pooling import POOLINGS
from .trunk import Backbone
from .weights import Weights, weights_file

LIBRARIES = {
    "timm": timm_models.feature_extractor,
    "torchvision": torchvision_models.feature_extractor,
}
OWN = {
    "bn_inception": bn_inception.feature_extractor,
    "small_cnn": small_cnn.feature_extractor,
    "ngram_bag": ngram_bag.feature_extractor,
}
NAMES = (*OWN, *(f"{library}/resnet50" for library in LIBRARIES))


def backbone(
    name: str,
    pooling: str = "average",
    weights: Weights = None,
    frozen_batch_norm: bool = False,
) -> Backbone:
    """Make a network without its classifier, with the normalization of its weights and a pooling.

    ``backbone(name)(images)``: images (B, 3, H, W), RGB, uint8 in 0..255 or floating point in
    0..1, to features (B, D0), with D0 as attribute ``features``. Reordering, scaling and
    normalization happen inside, so one data pipeline serves every network.

    Args:
        name: "bn_inception" (D0 = 1024), "timm/<model>" or "torchvision/<model>", the last for
            classification models; or "small_cnn", three convolutions of 24,000 parameters for grey
            levels of 32x32 (D0 = 64, with its own pooling 1024), which also takes (B, 1, H, W); or
            "ngram_bag" for short texts (D0 = 64, its own pooling alone): the mean of a learned
            vector for each of the hashed n-grams (B, 64) of :func:`character_ngrams`.
        pooling: "average" or "max" over the feature map, "sum" of both, or "own", that of
            the network before its last linear layer: the only one for networks of tokens, such as
            ViTs. BN-Inception's own is the average, that of "small_cnn" the average to 4x4.
        weights: None, random; "pretrained", those of the library, which downloads them; or the
            path of a state dict: for BN-Inception the published checkpoint, see
            ``load_bn_inception``, otherwise of the library's model of that name, with or without
            its classifier.
        frozen_batch_norm: True: running statistics stay fixed, see ``freeze_batch_norm``.

    Normalization: BN-Inception expects BGR in 0..255 minus (104, 117, 128), with pytorchcv's own
    weights ("pretrained") RGB in 0..1 with mean and std of ImageNet; timm and torchvision models
    what the library states for their weights.

    Errors: ValueError for an unknown name (with the nearest ones) or pooling, a pooling that the
    network has no feature map for, a file that is missing, damaged, holds code or does not fit,
    a ``frozen_batch_norm`` that is no bool; ImportError without the library
    (``pip install "pml-gpw[backbones]"``).

    >>> import torch
    >>> from pml_gpw.backbones import backbone
    >>> model = backbone("timm/test_resnet", pooling="max")
    >>> model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)).shape
    torch.Size([2, 96])
    """
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    checks.instance("frozen_batch_norm", frozen_batch_norm, bool)
    weights_file(weights)
    library, _, model_name = str(name).partition("/")
    if name in OWN:
        extractor = OWN[name](pooling, weights)
    elif library in LIBRARIES and model_name:
        extractor = LIBRARIES[library](model_name, pooling, weights)
    else:
        raise ValueError(
            f"name must be {', '.join(map(repr, OWN))}, 'timm/<model>' or 'torchvision/<model>', "
            f"got {name!r}{closest_names(str(name), NAMES)}"
        )
    pool = POOLINGS[pooling]()
    model = Backbone(extractor.network, extractor.features, extractor.convention, pool)
    return freeze_batch_norm(model) if frozen_batch_norm else model
