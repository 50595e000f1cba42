"""R-precision and average precision at R, from which of the nearest references are relevant.

Shapes: C queries of a block, L references of the list of a query.
"""

import torch
from torch import Tensor


def precision_at_r(relevant: Tensor, num_relevant: Tensor) -> tuple[Tensor, Tensor]:
    """R-precision (C,) and average precision at R (C,) of each query, in float64.

    ``R-precision = r_R / R`` and ``AP@R = (1/R) Σ_{i=1..R} [i-th is relevant] r_i / i``

    with r_i the number of relevant references among the i nearest. Sums run from the nearest to the
    farthest, so that neither the length of lists nor the size of blocks changes a digit.

    Shapes: ``relevant`` (C, L), whether the i-th nearest reference is relevant, with L at least the
    largest R; ``num_relevant`` (C,), the R of each query, at least 1.
    """
    place = torch.arange(1, relevant.shape[1] + 1, device=relevant.device)
    hits = relevant & (place <= num_relevant[:, None])
    hits_so_far = hits.cumsum(dim=1)
    precisions = (hits_so_far / place.double()).masked_fill_(~hits, 0.0)
    sums = precisions.cumsum(dim=1)[:, -1]  # unlike sum, in the order of the list
    return hits_so_far[:, -1] / num_relevant.double(), sums / num_relevant
