"""The published BN-Inception, in pytorchcv's architecture."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..optional import optional
from .convention import InputConvention, imagenet
from .network import Network
from .pooling import GlobalAverage
from .weights import (
    PRETRAINED,
    Weights,
    checked_state_dict,
    checked_weights,
    fill,
    read_state_dict,
)

# The blocks of each stage; 3c and 4e halve the map and have neither 1x1 nor pooling projection.
STAGES = (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b"))
HALVING = ("3c", "4e")
CLASSIFIERS = ("last_linear", "fc")
FEATURES = 1024


def load_bn_inception(
    weights: str | os.PathLike[str] | Mapping[str, Tensor],
) -> nn.Module:
    """BN-Inception with the weights of the Caffe model that metric learning papers start from.

    The checkpoint (``bn_inception-52deb4733.pth``) has flat names, such as
    ``inception_3a_double_3x3_1_bn.running_mean``; the network is ``bninception`` of pytorchcv,
    which is the same function: 69 convolutions with bias, each with batch normalisation,
    11,295,240 parameters, 10,270,240 without the classifier. Every tensor of the checkpoint is
    used and everything in the network is filled.

    Shapes: images (B, 3, 224, 224) in BGR, 0..255, minus (104, 117, 128), to (B, 1000) logits;
    ``.features`` without its last pooling gives maps (B, 1024, 7, 7). Sizes from 224 to 227 have
    7x7 maps. ``backbone("bn_inception", weights=path)`` brings the convention with it.

    Args:
        weights: path of the checkpoint, or its state dict. Batch normalisation tensors may be
            (1, C) as in older files, names may begin with ``module.``, ``num_batches_tracked``
            may be missing. The classifier is ``last_linear``, ``fc`` or absent: then the
            network's ``output`` is an identity and it ends in features (B, 1024).

    Errors: ValueError for a file that is missing, damaged or holds code, for names that are
    missing or unexpected and for wrong shapes; ImportError without pytorchcv
    (``pip install "pml-gpw[backbones]"``).

    Source: Ioffe, Szegedy, Batch normalization, 2015; names as in Cadene/pretrained-models.pytorch.
    """
    if isinstance(weights, Mapping):
        source = "a state dict"
        flat = checked_state_dict(weights, source)
    else:
        if (path := checked_weights(weights)) is None:
            raise ValueError(f"weights must be a path or a state dict, got {weights!r}")
        source = str(path)
        flat = read_state_dict(path)

    net: nn.Module = architecture()
    classifier = next((name for name in CLASSIFIERS if f"{name}.weight" in flat), None)
    if classifier is None:
        net.output = nn.Identity()
    layers = {**dict(_layers()), "output": classifier or ""}

    def flat_name(name: str) -> str:
        module, _, tensor = name.rpartition(".")
        return f"{layers[module]}.{tensor}"

    fill(
        net, {name: _per_channel(name, tensor) for name, tensor in flat.items()}, source, flat_name
    )
    return net


def network(pooling: str, weights: Weights) -> Network:
    """Its feature map, 1024x7x7 at 224, and the convention of the weights."""
    if weights is None or weights == PRETRAINED:
        net = architecture(pretrained=weights == PRETRAINED)
    else:
        net = load_bn_inception(weights)
    body = net.features
    if pooling == "own":
        body.final_pool = GlobalAverage()  # the same at 7x7, and defined at every size
    else:
        del body.final_pool
    # pytorchcv trained its own weights with "the same ordinary normalization" for all models.
    return Network(body, FEATURES, imagenet() if weights == PRETRAINED else published())


def published() -> InputConvention:
    """That of the Caffe model: BGR in 0..255, minus the mean of ImageNet."""
    return InputConvention((104, 117, 128), (1, 1, 1), channels="BGR", scale=255)


def architecture(pretrained: bool = False) -> Any:
    """pytorchcv's BN-Inception with random weights, or with those of its own training.

    It was compared with the published definition: bias in every convolution, eps 1e-5, pools of
    3x3 with ceil_mode (no padding at stride 2; padding 1 at stride 1, counted by the averages),
    maximum instead of average in 5b, stride in the last 3x3 of a branch, and the same order of
    branches.
    """
    return optional("pytorchcv.model_provider", "backbones").get_model(
        "bninception", pretrained=pretrained
    )


def _layers() -> Iterator[tuple[str, str]]:
    """Each layer's name in pytorchcv's network, and its published name."""
    for block, name in _blocks():
        yield f"features.{block}.conv", name
        yield f"features.{block}.bn", f"{name}_bn"


def _blocks() -> Iterator[tuple[str, str]]:
    """Each convolution with its batch normalisation."""
    yield "init_block.conv1", "conv1_7x7_s2"
    yield "init_block.conv2.conv1", "conv2_3x3_reduce"
    yield "init_block.conv2.conv2", "conv2_3x3"
    for s, stage in enumerate(STAGES, start=1):
        for u, unit in enumerate(stage, start=1):
            for block, name in _inception(halving=unit in HALVING):
                yield f"stage{s}.unit{u}.branches.{block}", f"inception_{unit}_{name}"


def _inception(halving: bool) -> Iterator[tuple[str, str]]:
    """The convolutions of one block: pytorchcv numbers the branches that there are."""
    middle = 1 if halving else 2
    if not halving:
        yield "branch1", "1x1"
        yield "branch4.conv", "pool_proj"
    yield f"branch{middle}.conv1", "3x3_reduce"
    yield f"branch{middle}.conv2", "3x3"
    yield f"branch{middle + 1}.conv1", "double_3x3_reduce"
    yield f"branch{middle + 1}.conv2", "double_3x3_1"
    yield f"branch{middle + 1}.conv3", "double_3x3_2"


def _per_channel(name: str, tensor: Tensor) -> Tensor:
    """A batch normalisation's tensor as (C,), which older files have as (1, C)."""
    old = name.rpartition(".")[0].endswith("_bn") and tensor.ndim == 2 and len(tensor) == 1
    return tensor.squeeze(0) if old else tensor
