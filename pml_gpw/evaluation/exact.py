"""Ranks from similarities in float64, for the queries where float32 cannot decide.

Shapes: N queries, C queries of a block, M references, E dims.
"""

import torch
from torch import Tensor

from .backends import row_blocks

# Similarities of vectors of norm at most 1 that differ by less count as equal. The rounding of a
# float64 product is smaller, so that no kernel's order of summation decides a tie.
TIE_TOLERANCE = 1e-12

# Similarities held at a time: 16 MiB, a size that allocators reuse instead of asking the system.
FLOAT64_BLOCK_SIZE = 2**21


def exact_ranks(
    query: Tensor,
    query_labels: Tensor,
    self_index: Tensor,
    reference: Tensor,
    reference_labels: Tensor,
) -> Tensor:
    """The number of references that come before the first relevant one of each query.

    ``rank_i = |{ j : s_ij > s_i* or (s_ij = s_i* and j < j*) }|``

    with s_i* the largest similarity of query i to a relevant reference, and j* the first reference
    that has it. Every query must have a relevant reference other than its own row.

    Shapes: ``query`` (N, E) and ``reference`` (M, E) in float64, ``query_labels`` (N,),
    ``reference_labels`` (M,), ``self_index`` (N,): the query's own row among the references, or
    -1. Returns ranks (N,).
    """
    columns = torch.arange(len(reference), device=reference.device)
    ranks = torch.empty_like(query_labels)
    for rows in row_blocks(len(query), len(reference), FLOAT64_BLOCK_SIZE):
        similarities = query[rows] @ reference.T
        similarities.masked_fill_(columns == self_index[rows, None], -torch.inf)
        relevant = query_labels[rows, None] == reference_labels
        best = similarities.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
        at_least_best = similarities >= best - TIE_TOLERANCE
        first = (at_least_best & relevant).byte().argmax(dim=1, keepdim=True)  # of equal maxima
        before = (similarities > best + TIE_TOLERANCE) | (at_least_best & (columns < first))
        ranks[rows] = before.sum(dim=1)
    return ranks
