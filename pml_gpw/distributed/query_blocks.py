"""The queries of all processes in blocks, each sent from its process to all others.

Shapes: n queries of this process, C queries of a block, D dims.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..evaluation.backends import row_blocks
from .status import all_gather_status, global_rank, on_wire


class QueryBlock(NamedTuple):
    """Queries (C, D) of one process, their labels (C,) and their indices (C,) among all queries."""

    query: Tensor
    labels: Tensor
    indices: Tensor


def iter_query_blocks(
    query: Tensor,
    query_labels: Tensor,
    sizes: list[int],
    largest_shard: int,
    group: dist.ProcessGroup | None,
) -> Iterator[QueryBlock]:
    """The queries of all processes, which have ``sizes`` of them by rank, from those of this one.

    A block has no more numbers than its similarities to the largest shard of references may have.

    Shapes: ``query`` (n, D), ``query_labels`` (n,).
    """
    dims, start = query.shape[1], 0
    for rank, size in enumerate(sizes):
        indices = torch.arange(start, start + size, device=query.device)
        for rows in row_blocks(size, max(largest_shard, dims)):
            if rank == dist.get_rank(group):
                block = QueryBlock(query[rows], query_labels[rows], indices[rows])
            else:
                count = len(indices[rows])
                empty = query.new_empty(count, dims), query_labels.new_empty(count)
                block = QueryBlock(*empty, indices[rows])
            yield _broadcast(block, rank, group)
        start += size


def _broadcast(block: QueryBlock, rank: int, group: dist.ProcessGroup | None) -> QueryBlock:
    """The block of the process with that rank; of the other blocks, shapes and dtypes count."""
    all_gather_status(group)
    received = []
    for values in (block.query, block.labels):
        # Bytes, since not every backend knows every dtype.
        sent = on_wire(group, values.contiguous().view(torch.uint8))
        dist.broadcast(sent, global_rank(group, rank), group)
        received.append(sent.view(values.dtype).to(values.device))
    return QueryBlock(received[0], received[1], block.indices)
