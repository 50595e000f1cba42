"""Recall@K, R-precision and MAP@R of embeddings that several processes hold shards of.

Shapes: N queries and M references of all processes, n and m of them of this process, D dims.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist

from ..evaluation.metrics import ALL_METRICS, metrics_of_measures, retrieval_metrics
from ..evaluation.ranked_relevance import QueryMeasures, RankedRelevanceSearch
from ..evaluation.relevance import warn_without_relevant
from ..evaluation.retrieval import Array
from .reductions import GroupReductions
from .shards import checked_shard, iter_retrievals
from .status import all_gather_status, propagate_errors, several_processes


@torch.no_grad()
def distributed_retrieval_metrics(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
    group: dist.ProcessGroup | None = None,
) -> dict[str, float]:
    """Recall@K, R-precision and MAP@R of the shards of all processes, equal to those of one.

    Each process gives its shard of the queries, and of the references where there are some; sizes
    may differ, and may be 0. Every process returns what :func:`retrieval_metrics` returns for the
    concatenation in the order of ranks. Queries without a relevant reference are left out, and
    rank 0 warns of them.

    **Method.** As in :func:`distributed_recall_at_k`, no process holds all references, and blocks
    of queries go to all processes. The order of the R nearest needs more than counts: each shard
    lists as many of its own, and all shards merge the lists of a block. Where float32 leaves a
    doubt, each shard computes the float64 similarities of its own references, and they are merged
    alike.

    **Cost**, per process: that of ``distributed_recall_at_k``, and lists: 12 bytes for each of the
    R nearest, and a sixteenth more, of each query and shard. Blocks are smaller where lists are
    long, so that memory is bounded by that of the search.

    Without a process group, or in a group of one, this is ``retrieval_metrics``. All processes have
    to make the call.

    Args:
        query: the queries (n, D) of this process.
        query_labels: their labels (n,).
        reference: the references (m, D) of this process. Without them on all processes, the queries
            of all are searched in, and each query's own row is left out.
        reference_labels: their labels (m,).
        ks: the K of Recall@K, each at most M, or N - 1 without references.
        backend: "torch", "faiss" or "auto", as in ``recall_at_k``.
        metric: the similarity: "cosine", "dot" or "l2".
        group: the process group; None: the default one.

    Returns:
        ``recall_at_K`` for each K, ``r_precision`` and ``map_at_r``, each in 0..1; nan if no query
        has a relevant reference.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what
            ``retrieval_metrics`` refuses on one, and for any other error of one; for ``ks`` out of
            range, and where ranks differ in ``ks``, metric, dims, dtype of the queries or in
            having references.

    Example:
        One process without a group; with a group, each rank passes its rows.

        >>> import torch
        >>> from pml_gpw.distributed import distributed_retrieval_metrics
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> distributed_retrieval_metrics(embeddings, labels, ks=(1,), metric="l2")
        {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    if not several_processes(group):
        return retrieval_metrics(
            query, query_labels, reference, reference_labels, ks, backend, metric
        )
    shard = checked_shard(
        group, query, query_labels, reference, reference_labels, ks, backend, metric
    )
    with propagate_errors(group):
        reductions = GroupReductions(group, shard.reference_sizes)
        search = RankedRelevanceSearch(
            shard.task.reference,
            shard.task.reference_labels,
            shard.ks,
            metric,
            backend,
            reductions,
        )
        parts, has_relevant = [], []
        for queries in iter_retrievals(shard, search.largest_shard, reductions, group):
            parts.append(
                search.measures(
                    queries.query, queries.labels, queries.self_index, queries.num_relevant
                )
            )
            has_relevant.append(queries.has_relevant)
        result = metrics_of_measures(QueryMeasures.concatenated(parts), shard.ks)
        if dist.get_rank(group) == 0:
            warn_without_relevant(torch.cat(has_relevant), stacklevel=3, metrics=ALL_METRICS)
        all_gather_status(group)
    return result
