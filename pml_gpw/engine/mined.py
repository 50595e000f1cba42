"""The index tuple of all pairs that mining keeps.

Shapes: N anchors, M references, D dims, K pairs.
"""

import torch
from torch import Tensor

from .walk import Pairing, walk


def mined_pairs(x: Tensor, y: Tensor, pairing: Pairing) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """PML's (a1, p, a2, n), each pair once, row by row; by inner products.

    Shapes: anchors ``x`` (N, D), references ``y`` (M, D); ``y is x`` in self-comparison.
    """
    nothing = torch.empty(0, dtype=torch.int64, device=x.device)
    parts = [(nothing,) * 4]
    for anchors, *both in walk(x, y, pairing):
        (a1, p), (a2, n) = (rows.pairs() for rows in both)
        parts.append((a1 + anchors.start, p, a2 + anchors.start, n))
    a1, p, a2, n = (torch.cat(each) for each in zip(*parts, strict=True))
    return a1, p, a2, n
