"""Rows of Euclidean norm 1, and the gradient through them.

Shapes: N embeddings, D dims.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..value_checks import host_can_read

#: Rows of these norms have squares far from the ends of float32.
SAFE_NORMS = (1e-12, 1e12)
#: The norm that rows of zeros are divided by, as in ``torch.nn.functional.normalize``.
LEAST_NORM = 1e-12


class UnitRows(NamedTuple):
    """Embeddings scaled to norm 1, or as they are, and what they were divided and multiplied by.

    >>> import torch
    >>> normalized(torch.tensor([[3.0, 4.0]])).rows
    tensor([[0.6000, 0.8000]])
    """

    rows: Tensor  # (N, D)
    norms: Tensor | None = None  # (N, 1), of the embeddings times ``scale``; None: as they were
    scale: Tensor | None = None  # (N, 1), powers of two; None: 1

    def gradient(self, of_rows: Tensor) -> Tensor:
        """The gradient of the embeddings, (N, D), from that of the rows: (g − u⟨u, g⟩) / ‖x‖.

        ``of_rows`` is overwritten.
        """
        if self.norms is None:
            return of_rows
        along = (of_rows * self.rows).sum(dim=1, keepdim=True)
        gradient = of_rows.addcmul_(self.rows, along, value=-1).div_(self.norms)
        return gradient if self.scale is None else gradient.mul_(self.scale)


def normalized(embeddings: Tensor) -> UnitRows:
    """Embeddings (N, D) of Euclidean norm 1; rows of zeros stay zeros.

    Squared norms neither overflow nor underflow. Values are those of
    ``torch.nn.functional.normalize`` to the last bit where that is right. On a CPU rows are scaled
    only where one of them needs it; elsewhere a look would wait.
    """
    if host_can_read(embeddings):
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        if _are_safe(norms):
            return UnitRows(embeddings / norms, norms, None)
    scale = _scale(embeddings.detach())
    embeddings = embeddings * scale
    norms = embeddings.norm(2, dim=1, keepdim=True).clamp_min(LEAST_NORM)
    return UnitRows(embeddings / norms, norms, scale)


def unit_rows(embeddings: Tensor) -> Tensor:
    """The rows alone, differentiable.

    >>> import torch
    >>> unit_rows(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return normalized(embeddings).rows


def within_range(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) whose norms neither overflow nor underflow, in the same directions."""
    if host_can_read(embeddings) and _are_safe(embeddings.norm(2, dim=1)):
        return embeddings
    return embeddings * _scale(embeddings.detach())


def _are_safe(norms: Tensor) -> bool:
    """True where no row needs scaling."""
    if norms.numel() == 0:
        return True
    least, most = norms.detach().aminmax()
    return SAFE_NORMS[0] <= least.item() and most.item() <= SAFE_NORMS[1]


def _scale(embeddings: Tensor) -> Tensor:
    """Factors (N, 1) that bring the entries of rows to about 1: powers of two, which are exact."""
    if embeddings.shape[1] == 0:
        return embeddings.new_ones(len(embeddings), 1)
    limits = torch.finfo(embeddings.dtype)
    largest = torch.linalg.vector_norm(embeddings, torch.inf, dim=1, keepdim=True)
    # The mantissa, in [0.5, 1), over the number itself is a power of two: of rows of zeros 1.
    largest = largest.masked_fill(largest == 0, 0.5).clamp(min=limits.tiny, max=limits.max / 16)
    return torch.frexp(largest).mantissa / largest
