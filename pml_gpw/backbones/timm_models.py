"""Any model of timm, by its name."""

from typing import Any

from ..optional import optional
from .convention import InputConvention
from .network import Network, nearest, no_feature_map, output_shape
from .weights import PRETRAINED, Weights, checked_weights, fill, read_state_dict


def network(name: str, pooling: str, weights: Weights) -> Network:
    """The model without classifier, and without its pooling unless that is to be its own."""
    timm = optional("timm", "backbones")
    if not timm.is_model(name):
        raise ValueError(
            f"name must be a model of timm, got {name!r}{nearest(name, timm.list_models())}"
        )
    pretrained = weights == PRETRAINED
    if pretrained and not optional("timm.models", "backbones").is_model_pretrained(name):
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ValueError(
            f"weights must be None or a path for timm's {name!r}, which has none of that name"
            f"{nearest(name, known)}"
        )
    options = {} if pooling == "own" else {"global_pool": ""}
    try:
        body = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (AssertionError, TypeError) as error:  # what models without a pooling to remove raise
        if pooling == "own":
            raise
        raise no_feature_map(name, pooling) from error

    config = optional("timm.data", "backbones").resolve_model_data_config(body)
    shape = output_shape(body, *config["input_size"][1:])
    features = shape[1]
    # Tokens are (B, n, D0); maps with the channels last, (B, h, w, D0), are refused with them.
    if pooling != "own" and (len(shape) != 4 or features != body.head_hidden_size):
        raise no_feature_map(name, pooling)
    _load(body, weights)
    return Network(body, features, InputConvention(config["mean"], config["std"]))


def _load(body: Any, weights: Weights) -> None:
    if (path := checked_weights(weights)) is None:
        return
    classifiers = body.pretrained_cfg.get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    dropped = tuple(f"{name}." for name in names)
    state = read_state_dict(path)
    fill(body, {n: t for n, t in state.items() if not n.startswith(dropped)}, str(path))
