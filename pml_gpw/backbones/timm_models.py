"""The models of timm, by name."""

from typing import Any

from ..optional import import_optional
from .feature_extractor import (
    FeatureExtractor,
    closest_names,
    no_feature_map_error,
    output_shape,
)
from .normalization import InputConvention
from .weights import PRETRAINED, Weights, load_exactly, read_state_dict, weights_file


def feature_extractor(name: str, pooling: str, weights: Weights) -> FeatureExtractor:
    """Return the model without classifier, and without its pooling unless that is "own"."""
    timm = import_optional("timm", "backbones")
    if not timm.is_model(name):
        raise ValueError(
            f"name must be a model of timm, got {name!r}{closest_names(name, timm.list_models())}"
        )
    pretrained = weights == PRETRAINED
    if pretrained and not import_optional("timm.models", "backbones").is_model_pretrained(name):
        known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ValueError(
            f"weights must be None or a path for timm's {name!r}, which has none of that name"
            f"{closest_names(name, known)}"
        )
    options = {} if pooling == "own" else {"global_pool": ""}
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except (AssertionError, TypeError) as error:  # raised by models without a pooling to remove
        if pooling == "own":
            raise
        raise no_feature_map_error(name, pooling) from error

    config = import_optional("timm.data", "backbones").resolve_model_data_config(network)
    shape = output_shape(network, *config["input_size"][1:])
    features = shape[1]
    # Tokens are (B, n, D0); maps with the channels last, (B, h, w, D0), are refused with them.
    if pooling != "own" and (len(shape) != 4 or features != network.head_hidden_size):
        raise no_feature_map_error(name, pooling)
    _load_weights(network, weights)
    return FeatureExtractor(network, features, InputConvention(config["mean"], config["std"]))


def _load_weights(network: Any, weights: Weights) -> None:
    if (path := weights_file(weights)) is None:
        return
    classifiers = network.pretrained_cfg.get("classifier") or ()
    names = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    dropped = tuple(f"{name}." for name in names)
    state = read_state_dict(path)
    load_exactly(network, {n: t for n, t in state.items() if not n.startswith(dropped)}, str(path))
