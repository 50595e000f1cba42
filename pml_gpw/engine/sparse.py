"""Few pairs among many: their similarities without the products of the others, and sparse matrices.

Shapes: N anchors, M references, D dims, K pairs.
"""

import warnings
from functools import cache

import torch
from torch import Tensor

from ..weightings import SparseRows
from ..weightings.sparse_rows import SPARSE_DENSITY
from .index_pairs import IndexPairs

MOST_PAIRS = 2**21
"""Positives, and negatives, that are held at a time: some 200 MB with what they are made into."""


def sparse_limit(num_anchors: int, num_references: int, density: float = SPARSE_DENSITY) -> int:
    """The most pairs of N × M that are held at once: up to a density, and to what memory takes."""
    return min(MOST_PAIRS, int(density * num_anchors * num_references))


def listed_rows(x: Tensor, y: Tensor, pairs: IndexPairs) -> tuple[SparseRows, SparseRows]:
    """The listed pairs of anchors ``x`` (N, D) and references ``y`` (M, D)."""
    n, m = pairs.shape
    pos, neg = (
        SparseRows(similarities(x, y, row, column), row, column, (n, m))
        for row, column in ((places // m, places % m) for places in pairs.places)
    )
    return pos, neg


def similarities(x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Inner products (K,) of ``x[row]`` and ``y[column]``, for rising ``row``."""
    _without_beta_warning()
    starts = torch.searchsorted(row, torch.arange(len(x) + 1, device=x.device))
    pattern = torch.sparse_csr_tensor(
        starts, column, x.new_zeros(len(column)), (len(x), len(y)), check_invariants=False
    )
    return torch.sparse.sampled_addmm(pattern, x, y.T, beta=0.0).values()


def sparse_matrix(row: Tensor, column: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A CSR matrix of the entries; repeated ones add up."""
    _without_beta_warning()
    order = row.argsort(stable=True)
    starts = torch.zeros(shape[0] + 1, dtype=row.dtype, device=row.device)
    torch.cumsum(torch.bincount(row, minlength=shape[0]), 0, out=starts[1:])
    return torch.sparse_csr_tensor(
        starts, column[order], values[order], shape, check_invariants=False
    )


@cache
def _without_beta_warning() -> None:
    """Let torch's warning that CSR tensors are new, which it gives once a process, pass unseen.

    Once, because the filters of warnings belong to all threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        nothing = torch.zeros(1)
        torch.sparse_csr_tensor(
            torch.tensor([0, 1]), torch.tensor([0]), nothing, (1, 1), check_invariants=False
        )
