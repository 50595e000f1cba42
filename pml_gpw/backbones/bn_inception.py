"""The published BN-Inception, in pytorchcv's architecture."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..optional import import_optional
from .feature_extractor import FeatureExtractor
from .normalization import caffe_normalization, imagenet_normalization
from .pooling import GlobalAveragePool
from .weights import (
    PRETRAINED,
    Weights,
    load_exactly,
    read_state_dict,
    validate_state_dict,
    weights_file,
)

# The blocks of each stage; 3c and 4e halve the feature map and have neither a 1x1 branch nor a
# pooling projection.
STAGES = (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b"))
DOWNSAMPLING = ("3c", "4e")
CLASSIFIERS = ("last_linear", "fc")
FEATURES = 1024


def load_bn_inception(
    weights: str | os.PathLike[str] | Mapping[str, Tensor],
) -> nn.Module:
    """Load BN-Inception with the weights of the Caffe model that metric learning papers use.

    The checkpoint (``bn_inception-52deb4733.pth``) has flat names, such as
    ``inception_3a_double_3x3_1_bn.running_mean``; the network is ``bninception`` of pytorchcv,
    which is the same function: 69 convolutions with bias, each with batch normalization,
    11,295,240 parameters, 10,270,240 without the classifier. Every tensor of the checkpoint is
    used and every tensor of the network is set.

    Shapes: images (B, 3, 224, 224) in BGR, 0..255, minus (104, 117, 128), to (B, 1000) logits;
    ``.features`` without its last pooling gives maps (B, 1024, 7, 7). Sizes from 224 to 227 have
    7x7 maps. ``backbone("bn_inception", weights=path)`` includes the normalization.

    Args:
        weights: path of the checkpoint, or its state dict. Batch normalization tensors may be
            (1, C) as in older files, names may begin with ``module.``, ``num_batches_tracked``
            may be missing. The classifier is ``last_linear``, ``fc`` or absent: then the
            network's ``output`` is an identity and it ends in features (B, 1024).

    Errors: ValueError for a file that is missing, damaged or holds code, for names that are
    missing or unexpected and for wrong shapes; ImportError without pytorchcv
    (``pip install "pml-gpw[backbones]"``).

    Source: Ioffe, Szegedy, Batch normalization, 2015; names as in Cadene/pretrained-models.pytorch.

    >>> from pml_gpw.backbones import load_bn_inception
    >>> model = load_bn_inception("bn_inception-52deb4733.pth")  # doctest: +SKIP
    >>> model(torch.zeros(1, 3, 224, 224)).shape  # doctest: +SKIP
    torch.Size([1, 1000])
    """
    if isinstance(weights, Mapping):
        source = "a state dict"
        flat = validate_state_dict(weights, source)
    else:
        if (path := weights_file(weights)) is None:
            raise ValueError(f"weights must be a path or a state dict, got {weights!r}")
        source = str(path)
        flat = read_state_dict(path)

    network: nn.Module = pytorchcv_network()
    classifier = next((name for name in CLASSIFIERS if f"{name}.weight" in flat), None)
    if classifier is None:
        network.output = nn.Identity()
    layers = {**dict(_layer_names()), "output": classifier or ""}

    def flat_name(name: str) -> str:
        module, _, tensor = name.rpartition(".")
        return f"{layers[module]}.{tensor}"

    state = {name: _squeeze_batch_norm(name, tensor) for name, tensor in flat.items()}
    load_exactly(network, state, source, flat_name)
    return network


def feature_extractor(pooling: str, weights: Weights) -> FeatureExtractor:
    """Return the network up to its feature map, 1024x7x7 at 224, and its normalization."""
    if weights is None or weights == PRETRAINED:
        model = pytorchcv_network(pretrained=weights == PRETRAINED)
    else:
        model = load_bn_inception(weights)
    network = model.features
    if pooling == "own":
        network.final_pool = GlobalAveragePool()  # equal at 7x7, and defined at every size
    else:
        del network.final_pool
    # pytorchcv trained its own weights with "the same ordinary normalization" for all models.
    convention = imagenet_normalization() if weights == PRETRAINED else caffe_normalization()
    return FeatureExtractor(network, FEATURES, convention)


def pytorchcv_network(pretrained: bool = False) -> Any:
    """Return pytorchcv's BN-Inception with random weights, or with those of its own training.

    It was compared with the published definition: bias in every convolution, eps 1e-5, pools of
    3x3 with ceil_mode (no padding at stride 2; padding 1 at stride 1, counted by the averages),
    maximum instead of average in 5b, stride in the last 3x3 of a branch, and the same order of
    branches.
    """
    return import_optional("pytorchcv.model_provider", "backbones").get_model(
        "bninception", pretrained=pretrained
    )


def _layer_names() -> Iterator[tuple[str, str]]:
    """Yield the name of each layer in pytorchcv's network and its published name."""
    for block, name in _convolution_names():
        yield f"features.{block}.conv", name
        yield f"features.{block}.bn", f"{name}_bn"


def _convolution_names() -> Iterator[tuple[str, str]]:
    """Yield the two names of each convolution, which its batch normalization shares."""
    yield "init_block.conv1", "conv1_7x7_s2"
    yield "init_block.conv2.conv1", "conv2_3x3_reduce"
    yield "init_block.conv2.conv2", "conv2_3x3"
    for s, stage in enumerate(STAGES, start=1):
        for u, unit in enumerate(stage, start=1):
            for block, name in _block_names(downsampling=unit in DOWNSAMPLING):
                yield f"stage{s}.unit{u}.branches.{block}", f"inception_{unit}_{name}"


def _block_names(downsampling: bool) -> Iterator[tuple[str, str]]:
    """Yield the names in one block, whose existing branches pytorchcv numbers."""
    middle = 1 if downsampling else 2
    if not downsampling:
        yield "branch1", "1x1"
        yield "branch4.conv", "pool_proj"
    yield f"branch{middle}.conv1", "3x3_reduce"
    yield f"branch{middle}.conv2", "3x3"
    yield f"branch{middle + 1}.conv1", "double_3x3_reduce"
    yield f"branch{middle + 1}.conv2", "double_3x3_1"
    yield f"branch{middle + 1}.conv3", "double_3x3_2"


def _squeeze_batch_norm(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of a batch normalization as (C,), which older files have as (1, C)."""
    is_row = name.rpartition(".")[0].endswith("_bn") and tensor.ndim == 2 and len(tensor) == 1
    return tensor.squeeze(0) if is_row else tensor
