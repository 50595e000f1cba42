"""Recall@K of embeddings that several processes hold shards of.

Shapes: N queries and M references of all processes, n and m of them of this process, D dims.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist

from ..evaluation.metrics import recall_at_k, recall_of_ranks
from ..evaluation.ranks import FirstRelevantSearch
from ..evaluation.relevance import warn_without_relevant
from ..evaluation.retrieval import Array
from .reductions import GroupReductions
from .shards import checked_shard, iter_retrievals
from .status import all_gather_status, propagate_errors, several_processes


@torch.no_grad()
def distributed_recall_at_k(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
    group: dist.ProcessGroup | None = None,
) -> dict[int, float]:
    """Recall@K of the shards of all processes, equal to :func:`recall_at_k` of them in one process.

    Each process gives its shard of the queries, and of the references where there are some; sizes
    may differ, and may be 0. Every process returns what ``recall_at_k`` returns for the
    concatenation in the order of ranks: float64 decides between near similarities, and the index
    among all references between equal ones. Queries without a relevant reference are left out, and
    rank 0 warns of them.

    **Method.** No process holds all references. Blocks of queries go to all processes, and each
    process searches its own shard (with FAISS, in an index of its shard). Recall@K needs no lists
    of neighbours, only the rank of the first relevant reference of query i, and that is a sum:

    ``rank_i = Σ_shards |{ j : s_ij > s_i* or (s_ij = s_i* and j < j*) }|``

    with s_i* the largest similarity of query i to a relevant reference, and j* the first reference
    that has it. To merge the K nearest exactly, shards exchange only s_i*, j* and their counts.

    **Cost**, per process: N·m products. Peak memory: what ``recall_at_k`` holds for m references,
    copies of a block of queries, which are 2^25 numbers or 16 queries, and 9 bytes a query. With
    embeddings of b bytes a number it receives N·(D·b + 8) bytes of queries and labels; reductions
    carry 40 bytes a query, 24 more where float64 decides, and 8·(D + 1) in all for "l2". Each
    exchange begins with one number, which says whether all processes are well.

    Without a process group, or in a group of one, this is ``recall_at_k``. All processes have to
    make the call.

    Args:
        query: the queries (n, D) of this process.
        query_labels: their labels (n,).
        reference: the references (m, D) of this process. Without them on all processes, the queries
            of all are searched in, and each query's own row is left out.
        reference_labels: their labels (m,).
        ks: the K to compute, each at most M, or N - 1 without references.
        backend: "torch", "faiss" or "auto", as in ``recall_at_k``.
        metric: the similarity: "cosine", "dot" or "l2".
        group: the process group; None: the default one.

    Returns:
        The recall in 0..1 for each K; nan if no query has a relevant reference.

    Raises:
        ValueError: on all processes, naming the first rank at fault, for what ``recall_at_k``
            refuses on one, and for any other error of one; for ``ks`` out of range, and where ranks
            differ in ``ks``, metric, dims, dtype of the queries or in having references.

    Example:
        One process without a group; with a group, each rank passes its rows.

        >>> import torch
        >>> from pml_gpw.distributed import distributed_recall_at_k
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> distributed_recall_at_k(embeddings, labels, ks=(1, 2, 3), metric="l2")
        {1: 0.0, 2: 0.75, 3: 1.0}
    """
    if not several_processes(group):
        return recall_at_k(query, query_labels, reference, reference_labels, ks, backend, metric)
    shard = checked_shard(
        group, query, query_labels, reference, reference_labels, ks, backend, metric
    )
    with propagate_errors(group):
        reductions = GroupReductions(group, shard.reference_sizes)
        search = FirstRelevantSearch(
            shard.task.reference,
            shard.task.reference_labels,
            shard.ks,
            metric,
            backend,
            reductions,
        )
        ranks, has_relevant = [], []
        for queries in iter_retrievals(shard, search.largest_shard, reductions, group):
            ranks.append(search.ranks(queries.query, queries.labels, queries.self_index))
            has_relevant.append(queries.has_relevant)
        result = recall_of_ranks(torch.cat(ranks), shard.ks)
        if dist.get_rank(group) == 0:
            warn_without_relevant(torch.cat(has_relevant), stacklevel=3)
        all_gather_status(group)
    return result
