"""The common form of the models of all libraries before they become a backbone."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import nn


@dataclass(frozen=True)
class FeatureExtractor:
    """A network without its classifier.

    ``network`` maps (B, 3, H, W) to a feature map (B, ``features``, h, w), or to (B, ``features``)
    where it pools itself; ``convention`` is the normalization of its input.
    """

    network: nn.Module
    features: int
    convention: nn.Module


@torch.no_grad()
def output_shape(network: nn.Module, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the output for one image; the network is left unchanged."""
    training = network.training
    shape = tuple(network.eval()(torch.zeros(1, 3, height, width)).shape)
    network.train(training)
    return shape


def no_feature_map_error(name: str, pooling: str) -> ValueError:
    """Return the error for a pooling of a network that has no feature map."""
    return ValueError(
        f"pooling must be 'own' for {name!r}, which has no (B, D0, h, w) feature map, "
        f"got {pooling!r}"
    )


def closest_names(name: str, known: Iterable[str]) -> str:
    """Return the known names most similar to ``name``, as the end of an error message."""
    names = get_close_matches(name, list(known), n=4)
    return f"; nearest: {', '.join(map(repr, names))}" if names else ""
