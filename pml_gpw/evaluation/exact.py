"""Ranks from similarities in float64, for the queries where float32 leaves a doubt.

Shapes: N queries, C queries of a block, M references of a shard, E dims.
"""

import torch
from torch import Tensor

from .neighbors import blocks
from .shards import ALONE, Shards

# Similarities of vectors of norm at most 1 that differ by less are equal: the rounding of a
# float64 product is below, so that no kernel's order of summation decides a tie.
TIE = 1e-12

BLOCK = 2**21  # similarities at a time: 16 MiB, which allocators hand out again and again

BEYOND = torch.iinfo(torch.int64).max


def exact_ranks(
    query: Tensor,
    query_labels: Tensor,
    own: Tensor,
    reference: Tensor,
    reference_labels: Tensor,
    shards: Shards = ALONE,
) -> Tensor:
    """How many references come before the first relevant one of each query (N, E).

    References (M, E), and those of other shards, are ordered by similarity, and by index where
    similarities are equal to the best relevant one's. Vectors are float64; every query has a
    relevant reference besides its ``own``, an index among the references of all shards.
    """
    columns = shards.start + torch.arange(len(reference), device=reference.device)
    longest = int(shards.maximum(torch.tensor(len(reference))))
    ranks = torch.empty_like(query_labels)
    for rows in blocks(len(query), longest, BLOCK):
        similarities = query[rows] @ reference.T
        similarities.masked_fill_(columns == own[rows, None], -torch.inf)
        relevant = query_labels[rows, None] == reference_labels
        best = shards.maximum(largest(similarities.masked_fill(~relevant, -torch.inf)))
        at_least = similarities >= best - TIE
        first = shards.minimum(_first(at_least & relevant, columns))
        before = (similarities > best + TIE) | (at_least & (columns < first))
        ranks[rows] = shards.total(before.sum(dim=1))
    return ranks


def largest(similarities: Tensor) -> Tensor:
    """The largest of each row (C, M), as (C, 1); -inf in an empty shard."""
    if not similarities.shape[1]:
        return similarities.new_full((len(similarities), 1), -torch.inf)
    return similarities.amax(dim=1, keepdim=True)


def _first(hits: Tensor, columns: Tensor) -> Tensor:
    """The column (C, 1) of the first hit of each row (C, M), beyond all where there is none."""
    if not len(columns):
        return columns.new_full((len(hits), 1), BEYOND)
    place = hits.byte().argmax(dim=1, keepdim=True)  # the first of equal maxima
    return columns[place].masked_fill(~hits.gather(1, place), BEYOND)
