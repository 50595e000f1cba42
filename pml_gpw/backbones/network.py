"""What each library's models are brought to before they become a backbone."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import nn

from .convention import InputConvention


@dataclass(frozen=True)
class Network:
    """A network without its classifier.

    ``body`` maps (B, 3, H, W) to a feature map (B, ``features``, h, w), or to (B, ``features``)
    where it pools itself; ``convention`` is what it takes.
    """

    body: nn.Module
    features: int
    convention: InputConvention


@torch.no_grad()
def output_shape(body: nn.Module, height: int, width: int) -> tuple[int, ...]:
    """The shape of what ``body`` makes of one image; the forward pass leaves no trace."""
    training = body.training
    shape = tuple(body.eval()(torch.zeros(1, 3, height, width)).shape)
    body.train(training)
    return shape


def no_feature_map(name: str, pooling: str) -> ValueError:
    """The error for a pooling of a network that has no feature map."""
    return ValueError(
        f"pooling must be 'own' for {name!r}, which has no (B, D0, h, w) feature map, "
        f"got {pooling!r}"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names most like ``name``, as the end of an error message."""
    names = get_close_matches(name, list(known), n=4)
    return f"; nearest: {', '.join(map(repr, names))}" if names else ""
