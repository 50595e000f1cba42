"""Recall@K, R-precision and MAP@R of embeddings that several processes hold parts of.

Shapes: N queries and M references of all processes, n and m of them of this process, D dims.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..evaluation.metrics import ALL_METRICS, recall_at_k, retrieval_metrics
from ..evaluation.options import check_backend_and_metric, check_ks_within, checked_ks
from ..evaluation.ranked_relevance import query_measures
from ..evaluation.ranks import first_relevant_ranks
from ..evaluation.relevance import has_relevant_reference, warn_without_relevant
from ..evaluation.retrieval import Array, RetrievalTask, checked_retrieval
from .row_partition import RowPartition, all_gather_rows
from .status import (
    all_gather_status,
    must_be_alike,
    propagate_errors,
    several_processes,
)

Measured = Callable[[RetrievalTask, tuple[int, ...]], list[Tensor]]
"""From the queries of this process to values of each, (n,) each."""


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
    """Recall@K of the parts of all processes, equal to :func:`recall_at_k` of them in one process.

    Each process gives its part of the queries, and of the references where there are some; sizes
    may differ, and may be 0. Every process returns what ``recall_at_k`` returns for the
    concatenation in the order of ranks. Queries without a relevant reference are left out, and
    rank 0 warns of them.

    **Method.** Each process gathers the references of all and ranks them for its own queries; what
    was found of each query goes to all. **Cost**, per process: n·M products, the M references, M·D
    numbers that are received, and 8 bytes a query and value.

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
            differ in ``ks``, metric, dims, dtypes or in having references.

    Example:
        One process without a group; with a group, each rank passes its rows.

        >>> import torch
        >>> from pml_gpw.distributed import distributed_recall_at_k
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> distributed_recall_at_k(embeddings, labels, ks=(1, 2, 3), metric="l2")
        {1: 0.0, 2: 0.75, 3: 1.0}
    """
    given = query, query_labels, reference, reference_labels
    if not several_processes(group):
        return recall_at_k(*given, ks, backend, metric)

    def hits(task: RetrievalTask, ks: tuple[int, ...]) -> list[Tensor]:
        ranks = first_relevant_ranks(task, ks, metric, backend)
        return [ranks < k for k in ks]

    kept_ks, means = _means(given, ks, backend, metric, group, hits, 0, "Recall@K is")
    return dict(zip(kept_ks, means, strict=True))


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
    """Recall@K, R-precision and MAP@R of the parts of all processes, equal to those of one.

    Arguments, method, cost and errors are those of :func:`distributed_recall_at_k`; the values are
    those of :func:`retrieval_metrics` for the concatenation in the order of ranks.

    Example:
        One process without a group; with a group, each rank passes its rows.

        >>> import torch
        >>> from pml_gpw.distributed import distributed_retrieval_metrics
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> distributed_retrieval_metrics(embeddings, labels, ks=(1,), metric="l2")
        {'recall_at_1': 0.75, 'r_precision': 0.75, 'map_at_r': 0.75}
    """
    given = query, query_labels, reference, reference_labels
    if not several_processes(group):
        return retrieval_metrics(*given, ks, backend, metric)

    def measures(task: RetrievalTask, ks: tuple[int, ...]) -> list[Tensor]:
        ranks, *precisions = query_measures(task, ks, metric, backend)
        return [*(ranks < k for k in ks), *precisions]

    kept_ks, means = _means(given, ks, backend, metric, group, measures, 2, ALL_METRICS)
    names = [*(f"recall_at_{k}" for k in kept_ks), "r_precision", "map_at_r"]
    return dict(zip(names, means, strict=True))


class _Part(NamedTuple):
    """The facts of a part that each process tells the others before anything is sent."""

    num_queries: int
    num_references: int
    alike: dict[str, Any]


def _means(
    given: tuple[Array, Array, Array | None, Array | None],
    ks: Iterable[int],
    backend: str,
    metric: str,
    group: Any,
    measured: Measured,
    num_precisions: int,
    names: str,
) -> tuple[tuple[int, ...], list[float]]:
    """The K, and the mean over the queries of all processes of each value that is measured.

    ``num_precisions``: the number of values beside those of the K.
    """
    with propagate_errors(group):
        check_backend_and_metric(backend, metric)
        ks = checked_ks(ks)
        task = checked_retrieval(*given, min_rows=0)
        alike = {
            "reference": "None" if given[2] is None else "given",
            "ks": ks,
            "metric": metric,
            "dims": task.query.shape[1],
            "dtype of query": task.query.dtype,
            "dtype of reference": task.reference.dtype,
        }
        parts = all_gather_status(group, _Part(len(task.query), len(task.reference), alike))
    must_be_alike([part.alike for part in parts])
    queries, references = (
        RowPartition(group, dist.get_rank(group), sizes)
        for sizes in (tuple(p.num_queries for p in parts), tuple(p.num_references for p in parts))
    )
    for name, partition in (("query", queries), ("reference", references)):
        if not any(partition.sizes):
            raise ValueError(f"{name} must have at least one row on some rank, got none on any")
    num_compared = sum(references.sizes) - (given[2] is None)
    check_ks_within(ks, num_compared)
    # As bytes, since not every backend knows every dtype.
    rows = task.reference.contiguous().view(torch.uint8)
    raw, labels = all_gather_rows([(references, rows), (references, task.reference_labels)])
    with propagate_errors(group):
        self_index = task.self_index
        if given[2] is None:
            self_index = self_index + queries.local.start
        task = task._replace(
            reference=raw.view(task.reference.dtype),
            reference_labels=labels,
            self_index=self_index,
            num_compared=num_compared,
        )
        has_relevant = has_relevant_reference(task)
        task = task.filter_queries(has_relevant)
        kept = len(task.query)
        width = len(ks) + num_precisions
        values = measured(task, ks) if kept else [task.query.new_zeros(0)] * width
        local = torch.stack([value.double() for value in values], dim=1)
        counts = all_gather_status(group, (kept, len(has_relevant)))
    measured_queries = RowPartition(group, dist.get_rank(group), tuple(k for k, _ in counts))
    (every,) = all_gather_rows([(measured_queries, local)])
    if dist.get_rank(group) == 0:
        mask = torch.arange(sum(n for _, n in counts)) < len(every)
        warn_without_relevant(mask, stacklevel=4, metrics=names)
    return ks, [value.contiguous().mean().item() for value in every.unbind(dim=1)]
