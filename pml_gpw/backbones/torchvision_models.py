"""The classification models of torchvision, by name."""

from collections import OrderedDict
from typing import Any

from torch import nn

from ..optional import import_optional
from .feature_extractor import (
    FeatureExtractor,
    closest_names,
    no_feature_map_error,
    output_shape,
)
from .normalization import InputConvention, imagenet_normalization
from .weights import PRETRAINED, Weights, load_exactly, read_state_dict, weights_file

# torchvision defines the children of a model in the order of use; these end its feature map.
HEADS = ("avgpool", "classifier", "fc", "head", "heads")
AUXILIARY = ("aux1", "aux2", "AuxLogits")  # classifiers half-way, for training from scratch
TOKEN_MODELS = ("vit_",)
# The weights of these two are TensorFlow's, and so is the normalization that they expect.
TENSORFLOW_MODELS = ("googlenet", "inception_v3")


def feature_extractor(name: str, pooling: str, weights: Weights) -> FeatureExtractor:
    """Return the model without classifier, and without its pooling unless that is "own"."""
    models = import_optional("torchvision.models", "backbones")
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            "name must be a classification model of torchvision, got "
            f"{name!r}{closest_names(name, known)}"
        )
    if name.startswith(TOKEN_MODELS) and pooling != "own":
        raise no_feature_map_error(name, pooling)

    path = weights_file(weights)
    published = models.get_model_weights(name).DEFAULT if weights == PRETRAINED else None
    # Both warn unless told whether to initialize weights, which takes them long.
    initialization = {"init_weights": weights is None} if name in TENSORFLOW_MODELS else {}
    model = models.get_model(name, weights=published, **initialization)
    names = set(model.state_dict())

    network = _without_classifier(model, name) if pooling == "own" else _feature_map(model, name)
    if path is not None:
        state = read_state_dict(path)
        classifier = names - set(network.state_dict())
        load_exactly(network, {n: t for n, t in state.items() if n not in classifier}, str(path))
    return FeatureExtractor(
        network, output_shape(network, 224, 224)[1], _normalization(name, published)
    )


def _feature_map(model: nn.Module, name: str) -> nn.Module:
    """Return the children before the pooling, under their names, which state dicts keep."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for child, layer in model.named_children():
        if child in HEADS:
            break
        if child not in AUXILIARY:
            layers[child] = nn.Sequential(*layer) if isinstance(layer, nn.ModuleList) else layer
    if name.startswith("densenet"):
        layers["relu"] = nn.ReLU(inplace=True)  # part of its forward, but not a child
    return nn.Sequential(layers)


def _without_classifier(model: Any, name: str) -> nn.Module:
    """Replace the last linear layer of the model by an identity."""
    head = next(child for child in HEADS[1:] if hasattr(model, child))
    layer = getattr(model, head)
    if isinstance(layer, nn.Linear):
        setattr(model, head, nn.Identity())
    elif isinstance(layer[-1], nn.Linear):
        layer[-1] = nn.Identity()
    else:
        raise ValueError(
            f"pooling must be 'average', 'max' or 'sum' for {name!r}, whose own comes after its "
            "classifier, got 'own'"
        )
    if name in TENSORFLOW_MODELS:
        model.transform_input = model.aux_logits = False
        for child in AUXILIARY:
            if hasattr(model, child):
                setattr(model, child, None)
    return model


def _normalization(name: str, published: Any) -> InputConvention:
    if name in TENSORFLOW_MODELS:
        return InputConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    if published is None:
        return imagenet_normalization()
    transforms = published.transforms()
    return InputConvention(transforms.mean, transforms.std)
