"""Similarities of a few pairs, without the products of the others.

Shapes: N anchors, M references, D dims, K pairs.
"""

import warnings

import torch
from torch import Tensor

from ..weightings.rows import KEPT_SHARE, KeptRows, Rows
from .candidates import Listed

MOST_PAIRS = 2**21
"""Positives, and negatives, that are held at a time: some 200 MB with what they are made into."""


def limit(anchors: int, references: int) -> int:
    """How many pairs are few among N × M."""
    return min(MOST_PAIRS, int(KEPT_SHARE * anchors * references))


def listed_rows(x: Tensor, y: Tensor, listed: Listed) -> tuple[Rows, Rows]:
    """The listed pairs of anchors ``x`` (N, D) and references ``y`` (M, D)."""
    n, m = listed.shape
    pos, neg = (
        KeptRows(similarities(x, y, row, column), row, column, (n, m))
        for row, column in ((places // m, places % m) for places in listed.places)
    )
    return pos, neg


def similarities(x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Inner products (K,) of ``x[row]`` and ``y[column]``, for rising ``row``."""
    starts = torch.searchsorted(row, torch.arange(len(x) + 1, device=x.device))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        pattern = torch.sparse_csr_tensor(
            starts, column, x.new_zeros(len(column)), (len(x), len(y)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, x, y.T, beta=0.0).values()
