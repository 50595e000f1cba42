"""Any classification model of torchvision, by its name."""

from collections import OrderedDict
from typing import Any

from torch import nn

from ..optional import optional
from .convention import InputConvention, imagenet
from .network import Network, nearest, no_feature_map, output_shape
from .weights import PRETRAINED, Weights, checked_weights, fill, read_state_dict

# Where a model's children, which torchvision defines in the order of use, are no longer features.
HEADS = ("avgpool", "classifier", "fc", "head", "heads")
AUXILIARY = ("aux1", "aux2", "AuxLogits")  # classifiers half-way, for training from scratch
TOKENS = ("vit_",)
# These two were trained by TensorFlow's convention, to which their forward changes ImageNet's.
TENSORFLOW = ("googlenet", "inception_v3")


def network(name: str, pooling: str, weights: Weights) -> Network:
    """The model without classifier, and without its pooling unless that is to be its own."""
    models = optional("torchvision.models", "backbones")
    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            "name must be a classification model of torchvision, got "
            f"{name!r}{nearest(name, known)}"
        )
    if name.startswith(TOKENS) and pooling != "own":
        raise no_feature_map(name, pooling)

    path = checked_weights(weights)
    published = models.get_model_weights(name).DEFAULT if weights == PRETRAINED else None
    # Both warn unless told whether to draw weights, which takes them long.
    drawn = {"init_weights": weights is None} if name in TENSORFLOW else {}
    model = models.get_model(name, weights=published, **drawn)
    names = set(model.state_dict())

    body = _own(model, name) if pooling == "own" else _feature_map(model, name)
    if path is not None:
        state = read_state_dict(path)
        dropped = names - set(body.state_dict())
        fill(body, {n: t for n, t in state.items() if n not in dropped}, str(path))
    return Network(body, output_shape(body, 224, 224)[1], _convention(name, published))


def _feature_map(model: nn.Module, name: str) -> nn.Module:
    """The children up to the pooling; they keep their names, and so do state dicts."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for child, layer in model.named_children():
        if child in HEADS:
            break
        if child not in AUXILIARY:
            layers[child] = nn.Sequential(*layer) if isinstance(layer, nn.ModuleList) else layer
    if name.startswith("densenet"):
        layers["relu"] = nn.ReLU(inplace=True)  # its forward has one that is no child
    return nn.Sequential(layers)


def _own(model: Any, name: str) -> nn.Module:
    """The model without its last linear layer."""
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
    if name in TENSORFLOW:
        model.transform_input = model.aux_logits = False
        for child in AUXILIARY:
            if hasattr(model, child):
                setattr(model, child, None)
    return model


def _convention(name: str, published: Any) -> InputConvention:
    if name in TENSORFLOW:
        return InputConvention((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    if published is None:
        return imagenet()
    transforms = published.transforms()
    return InputConvention(transforms.mean, transforms.std)
