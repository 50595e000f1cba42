"""Ranks from similarities in float64, for the queries where float32 cannot decide.

Shapes: N queries, C queries of a block, M references of a shard, E dims.
"""

import torch
from torch import Tensor

from .backends import row_blocks
from .reductions import SINGLE_SHARD, Reductions

# Similarities of vectors of norm at most 1 that differ by less count as equal. The rounding of a
# float64 product is smaller, so that no kernel's order of summation decides a tie.
TIE_TOLERANCE = 1e-12

# Similarities held at a time: 16 MiB, a size that allocators reuse instead of asking the system.
FLOAT64_BLOCK_SIZE = 2**21

NO_COLUMN = torch.iinfo(torch.int64).max  # larger than every column


def exact_ranks(
    query: Tensor,
    query_labels: Tensor,
    self_index: Tensor,
    reference: Tensor,
    reference_labels: Tensor,
    reductions: Reductions = SINGLE_SHARD,
) -> Tensor:
    """The number of references that come before the first relevant one of each query.

    ``rank_i = Σ_shards |{ j : s_ij > s_i* or (s_ij = s_i* and j < j*) }|``

    with s_i* the largest similarity of query i to a relevant reference, and j* the first reference
    that has it. Every query must have a relevant reference other than its own row.

    Shapes: ``query`` (N, E) and ``reference`` (M, E) in float64, ``query_labels`` (N,),
    ``reference_labels`` (M,), ``self_index`` (N,): the query's own row among the references of all
    shards, or -1. Returns ranks (N,).
    """
    columns = reductions.reference_offset + torch.arange(len(reference), device=reference.device)
    largest_shard = int(reductions.maximum(torch.tensor(len(reference))))
    ranks = torch.empty_like(query_labels)
    for rows in row_blocks(len(query), largest_shard, FLOAT64_BLOCK_SIZE):
        similarities = query[rows] @ reference.T
        similarities.masked_fill_(columns == self_index[rows, None], -torch.inf)
        relevant = query_labels[rows, None] == reference_labels
        best = reductions.maximum(row_maximum(similarities.masked_fill(~relevant, -torch.inf)))
        at_least_best = similarities >= best - TIE_TOLERANCE
        first = reductions.minimum(_first_column(at_least_best & relevant, columns))
        before = (similarities > best + TIE_TOLERANCE) | (at_least_best & (columns < first))
        ranks[rows] = reductions.sum(before.sum(dim=1))
    return ranks


def row_maximum(similarities: Tensor) -> Tensor:
    """The maximum (C, 1) of each row (C, M); -inf in an empty shard."""
    if not similarities.shape[1]:
        return similarities.new_full((len(similarities), 1), -torch.inf)
    return similarities.amax(dim=1, keepdim=True)


def _first_column(mask: Tensor, columns: Tensor) -> Tensor:
    """The first column (C, 1) where the mask (C, M) is true, or NO_COLUMN."""
    if not len(columns):
        return columns.new_full((len(mask), 1), NO_COLUMN)
    position = mask.byte().argmax(dim=1, keepdim=True)  # the first of equal maxima
    return columns[position].masked_fill(~mask.gather(1, position), NO_COLUMN)
