"""A retrieval task whose queries and references several processes hold shards of.

Shapes: n queries and m references of this process, C queries of a block, D dims.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..evaluation.options import check_backend_and_metric, check_ks_within, checked_ks
from ..evaluation.reductions import Reductions
from ..evaluation.relevance import count_same_label
from ..evaluation.retrieval import Array, RetrievalTask, checked_retrieval
from .query_blocks import iter_query_blocks
from .status import all_gather_status, must_be_alike, propagate_errors


class Shard(NamedTuple):
    """The task of this process, and what all processes have agreed on; sizes are by rank."""

    task: RetrievalTask
    leave_one_out: bool
    ks: tuple[int, ...]
    query_sizes: list[int]
    reference_sizes: list[int]


class ShardSummary(NamedTuple):
    """What each process tells the others of its shard before the search."""

    num_queries: int
    num_references: int
    must_match: dict[str, Any]

    @classmethod
    def of_task(
        cls, task: RetrievalTask, leave_one_out: bool, ks: tuple[int, ...], metric: str
    ) -> "ShardSummary":
        """The summary of the task of one process."""
        must_match = {
            "reference": "None" if leave_one_out else "given",
            "ks": ks,
            "metric": metric,
            "dims": task.query.shape[1],
            "dtype of query": task.query.dtype,
        }
        return cls(len(task.query), len(task.reference), must_match)


class RelevantQueries(NamedTuple):
    """The queries of a block that have a relevant reference, and which of the block (C,) do.

    Shapes, with c of C queries: ``query`` (c, D), ``labels``, ``self_index`` and ``num_relevant``
    (c,), ``has_relevant`` (C,). Indices and numbers are those among the references of all shards.
    """

    query: Tensor
    labels: Tensor
    self_index: Tensor
    num_relevant: Tensor
    has_relevant: Tensor


def checked_shard(
    group: dist.ProcessGroup | None,
    query: Array,
    query_labels: Array,
    reference: Array | None,
    reference_labels: Array | None,
    ks: Iterable[int],
    backend: str,
    metric: str,
) -> Shard:
    """The shard of this process.

    Errors: on all processes, for arguments that one of them refuses, or that do not fit together.
    """
    with propagate_errors(group):
        check_backend_and_metric(backend, metric)
        ks = checked_ks(ks)
        task = checked_retrieval(query, query_labels, reference, reference_labels, min_rows=0)
        leave_one_out = reference is None
        shards = all_gather_status(group, ShardSummary.of_task(task, leave_one_out, ks, metric))
    must_be_alike([shard.must_match for shard in shards])
    query_sizes = [shard.num_queries for shard in shards]
    reference_sizes = [shard.num_references for shard in shards]
    _check_some_rows("query", query_sizes)
    _check_some_rows("reference", reference_sizes)
    check_ks_within(ks, sum(reference_sizes) - leave_one_out)
    return Shard(task, leave_one_out, ks, query_sizes, reference_sizes)


def iter_retrievals(
    shard: Shard, largest_shard: int, reductions: Reductions, group: dist.ProcessGroup | None
) -> Iterator[RelevantQueries]:
    """The queries of all processes in blocks, the same on every process."""
    task = shard.task
    for block in iter_query_blocks(
        task.query, task.query_labels, shard.query_sizes, largest_shard, group
    ):
        self_index = block.indices if shard.leave_one_out else torch.full_like(block.indices, -1)
        same_label = reductions.sum(count_same_label(block.labels, task.reference_labels))
        num_relevant = same_label - (self_index >= 0).long()
        keep = num_relevant > 0
        yield RelevantQueries(
            block.query[keep], block.labels[keep], self_index[keep], num_relevant[keep], keep
        )


def _check_some_rows(name: str, sizes: list[int]) -> None:
    if not any(sizes):
        raise ValueError(f"{name} must have at least one row on some rank, got none on any")
