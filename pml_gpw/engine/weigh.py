"""A weighting asked for its losses and weights, and held to what it promises."""

import torch
from torch import Tensor

from ..weightings import PairWeighting, PairWeights, Rows
from ..weightings.base import checked_weights


def weigh(weighting: PairWeighting, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
    """Each anchor's loss (C,) and the weights of the pairs of ``pos`` and ``neg``.

    Errors: ValueError that names a weighting whose formula returns something else.
    """
    losses, weights = weighting.evaluate(pos, neg)
    return losses, checked_weights(weighting, weights)


def refuse_negative_weights(weighting: PairWeighting, *weights: Tensor) -> None:
    """Raise a ValueError that names the weighting where a weight is negative or NaN.

    On a CPU only: elsewhere a look at values would wait.
    """
    if torch.compiler.is_compiling():
        return
    for values in weights:
        if values.device.type == "cpu" and values.numel():
            least = float(values.amin())  # NaN where one is
            if not least >= 0:
                got = "NaN" if least != least else f"a weight of {least:g}"
                raise ValueError(
                    f"weighting {type(weighting).__name__} must give weights >= 0, got {got}"
                )
