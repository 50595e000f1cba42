"""Ranks from similarities in float64, for the queries where float32 leaves a doubt.

Shapes: N queries, C queries of a block, M references, E dims.
"""

import torch
from torch import Tensor

from .neighbors import blocks

# Similarities of vectors of norm at most 1 that differ by less are equal: the rounding of a
# float64 product is below, so that no kernel's order of summation decides a tie.
TIE = 1e-12

BLOCK = 2**21  # similarities at a time: 16 MiB, which allocators hand out again and again


def exact_ranks(
    query: Tensor, query_labels: Tensor, own: Tensor, reference: Tensor, reference_labels: Tensor
) -> Tensor:
    """How many references (M, E) come before the first relevant one of each query (N, E).

    References are ordered by similarity, and by index where similarities are equal to the best
    relevant one's. Vectors are float64; every query has a relevant reference besides its own.
    """
    columns = torch.arange(len(reference), device=reference.device)
    ranks = torch.empty_like(query_labels)
    for rows in blocks(len(query), len(reference), BLOCK):
        similarities = query[rows] @ reference.T
        similarities.masked_fill_(columns == own[rows, None], -torch.inf)
        relevant = query_labels[rows, None] == reference_labels
        best = similarities.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
        at_least = similarities >= best - TIE
        # argmax gives the first of equal maxima.
        first = (at_least & relevant).byte().argmax(dim=1, keepdim=True)
        before = (similarities > best + TIE) | (at_least & (columns < first))
        ranks[rows] = before.sum(dim=1)
    return ranks
