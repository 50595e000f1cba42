"""Where the first relevant reference stands in the order of each query, exactly.

A float32 search gives candidates; a bound on its error says between which ranks the first
relevant reference lies. Where a K falls between the two, float64 over all references decides.

Shapes: N queries, C queries of a block, M references, D dims, L candidates of a query.
"""

import torch
from torch import Tensor

from .exact import TIE, exact_ranks
from .metrics import METRICS, as_vectors
from .neighbors import BACKENDS, blocks
from .retrieval import Retrieval


def first_relevant_ranks(task: Retrieval, ks: tuple[int, ...], metric: str, backend: str) -> Tensor:
    """A rank (N,) for each query: ``rank < K`` says whether its K nearest hold a relevant one.

    That is exact for each K of ``ks``, and the same for every backend. Every query must have a
    relevant reference.
    """
    query_vectors, reference_vectors = METRICS[metric](task.reference)
    reference = as_vectors(reference_vectors, task.reference, torch.float32)
    shared = task.query is task.reference and query_vectors is reference_vectors
    query = reference if shared else as_vectors(query_vectors, task.query, torch.float32)

    nearest = BACKENDS[backend](reference)
    length = min(candidates(max(ks)), len(reference))
    band = 2 * float32_error(reference.shape[1]) + TIE
    ordered_ks = torch.tensor(sorted(ks), device=query.device)
    ranks = torch.empty_like(task.query_labels)
    doubtful = torch.empty_like(ranks, dtype=torch.bool)
    for rows in blocks(len(query), len(reference)):
        similarities, indices = nearest(query[rows], length)
        same = task.reference_labels[indices] == task.query_labels[rows, None]
        relevant = same & (indices != task.own[rows, None])
        low, high = rank_bounds(similarities, relevant, ~same, band, len(reference))
        ranks[rows] = low
        doubtful[rows] = _ks_up_to(ordered_ks, low) != _ks_up_to(ordered_ks, high)

    if bool(doubtful.any()):
        ranks[doubtful] = exact_ranks(
            as_vectors(query_vectors, task.query[doubtful], torch.float64),
            task.query_labels[doubtful],
            task.own[doubtful],
            as_vectors(reference_vectors, task.reference, torch.float64),
            task.reference_labels,
        )
    return ranks


def rank_bounds(
    similarities: Tensor, relevant: Tensor, irrelevant: Tensor, band: float, references: int
) -> tuple[Tensor, Tensor]:
    """The least and the largest possible rank (C,) of the first relevant reference.

    ``similarities`` (C, L) are the largest L of ``references``; two that are further apart than
    ``band`` are in their true order. The masks (C, L) leave out the query itself.
    """
    best = similarities.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    least = similarities.amin(dim=1, keepdim=True)  # bounds all references outside the list
    if similarities.shape[1] == references:
        least = torch.full_like(least, -torch.inf)
    low = (irrelevant & (similarities > best.maximum(least) + band)).sum(dim=1)
    high = (irrelevant & (similarities >= best - band)).sum(dim=1)
    # References outside the list may stand before the best relevant one too.
    return low, high.masked_fill((best - band <= least).squeeze(1), references)


def candidates(largest_k: int) -> int:
    """How long a list settles nearly all queries: the query itself and a few ties more than K."""
    return largest_k + 1 + 8 + largest_k // 16


def float32_error(dims: int) -> float:
    """A bound on the error of an inner product, in float32, of vectors of norm at most 1.

    ``dims`` roundings of 2^-24 in whatever order they are summed (Higham 2002, section 3.1), and
    some for rounding the vectors and the comparisons; inputs rounded to fewer bits if the
    precision of float32 products in torch says so.
    """
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through newer switches, which differ from part to part of torch
        precision = "medium"
    rounding = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}[precision]
    return 2 * rounding + (dims + 8) * 2.0**-24


def _ks_up_to(ordered_ks: Tensor, ranks: Tensor) -> Tensor:
    return torch.searchsorted(ordered_ks, ranks, right=True)
