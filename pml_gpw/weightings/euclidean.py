"""The Euclidean distance of unit rows, read from their cosine similarity."""

import torch
from torch import Tensor


def squared_distance(sim: Tensor) -> Tensor:
    """`D² = 2 − 2 S` of rows of norm 1, never below 0.

    >>> squared_distance(torch.tensor([1.0, 0.0, -1.0]))
    tensor([0., 2., 4.])
    """
    return (2 - 2 * sim).clamp(min=0)


def distance(sim: Tensor) -> Tensor:
    """`D = √(2 − 2 S)` of rows of norm 1; where it is 0 its gradient is 0.

    >>> distance(torch.tensor([1.0, 0.5, -1.0]))
    tensor([0., 1., 2.])
    """
    apart, squared = _apart(sim)
    return torch.where(apart, squared.sqrt(), 0.0)


def per_distance(sim: Tensor) -> Tensor:
    """`1/D = −∂D/∂S` of rows of norm 1; 0 where D is 0.

    >>> per_distance(torch.tensor([1.0, 0.5, -1.0]))
    tensor([0.0000, 1.0000, 0.5000])
    """
    apart, squared = _apart(sim)
    return torch.where(apart, squared.rsqrt(), 0.0)


def _apart(sim: Tensor) -> tuple[Tensor, Tensor]:
    """True where D is above 0, and D² there; 1 elsewhere, whose root has a derivative."""
    squared = squared_distance(sim)
    apart = squared > 0
    return apart, torch.where(apart, squared, 1.0)
