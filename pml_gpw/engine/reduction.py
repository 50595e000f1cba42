"""From the losses of the anchors to one loss, as far as the engine has to know.

Shapes: N anchors, C of them a chunk.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..weightings.base import Counts, every_anchor
from .batch import AnchorLosses


class Reduction(NamedTuple):
    """A sum of the losses of the anchors that count, over a divisor that is the same for all.

    The gradient of each loss is then known, but for the divisor, as soon as the loss is.

    >>> import torch
    >>> losses = AnchorLosses(*torch.tensor([[0.5, 1.5], [1.0, 1.0], [2.0, 2.0]]))
    >>> Reduction(lambda found: found.losses.mean()).of(losses)
    tensor(1.)
    """

    of: Callable[[AnchorLosses], Tensor]
    #: None: it is not known, and gradients wait for backward.
    #: Which of some anchors count, 1 or 0 each, from losses and numbers of pairs, (C,) each.
    counts: Counts | None = every_anchor
    #: Whether it takes sums of the weights' magnitudes in place of numbers of pairs.
    sums_weights: bool = False


def _mean(found: AnchorLosses) -> Tensor:
    # The mean of nothing would be NaN.
    return found.losses.mean() if len(found.losses) else found.losses.sum()


MEAN = Reduction(_mean)
#: The losses stay as they are, for whatever will be made of them.
NONE = Reduction(lambda found: found.losses, counts=None)
