"""Products with few pairs: of those pairs alone, and of sparse matrices.

Shapes: N anchors, M references, D dims, K pairs.
"""

import warnings
from functools import cache

import torch
from torch import Tensor


def products_of_pairs(x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:
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
