"""Gradients that refuse to be differentiated again."""

from typing import Any

import torch
from torch import Tensor


class OnceOnly(torch.autograd.Function):
    """A gradient whose own gradient is refused; ``link`` ties it to what it was taken from.

    ``once_differentiable`` would let a second derivative pass as 0 where the upstream gradient
    is a constant, as it is below a mean.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, link: Tensor) -> Tensor:
        """The gradient, unchanged."""
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        """Refused."""
        raise RuntimeError(
            "double backward is not supported: pair weights are held constant in backward "
            "(eq 2-3), so a second derivative would be wrong"
        )
