"""Gradients that refuse to be differentiated again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override


class ForbidDoubleBackward(torch.autograd.Function):
    """A gradient whose own gradient is refused; ``link`` ties it to what it was taken from.

    ``once_differentiable`` would let a second derivative pass as 0 where the upstream gradient
    is a constant, as it is below a mean.
    """

    @staticmethod
    @override
    def forward(ctx: Any, gradient: Tensor, link: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    @override
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise RuntimeError(
            "double backward is not supported: pair weights are held constant in backward "
            "(eq 2-3), so a second derivative would be wrong"
        )


def once_differentiable(gradients: Sequence[Any], link: Tensor) -> list[Any]:
    """The gradients (None stays None) of a backward that makes a graph, tied to ``link``."""
    return [g if g is None else ForbidDoubleBackward.apply(g, link) for g in gradients]
