"""Metrics of the references that a query retrieves: Recall@K, R-precision and MAP@R."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .options import check_backend_and_metric, check_ks_within, checked_ks
from .ranked_relevance import QueryMeasures, query_measures
from .ranks import first_relevant_ranks
from .relevance import has_relevant_reference, warn_without_relevant
from .retrieval import Array, checked_retrieval

ALL_METRICS = "Recall@K, R-precision and MAP@R are"


@torch.no_grad()
def recall_at_k(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
) -> dict[int, float]:
    """Recall@K: the share of queries with a relevant reference among their K nearest.

    ``Recall@K = (1/N) Σ_i [ a reference with the label of i is among the K nearest of i ]``

    References are ordered by similarity, and equal similarities by index, the lower first, as a
    stable sort orders them. Similarities are compared in float64, and are equal where they differ
    by less than 1e-12 of the norms. So the result is exact and the same for every back end: a
    float32 search proposes, and where its rounding could change the result, float64 over all
    references decides. Queries without a relevant reference are left out of the mean, and a
    warning says how many they are.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point, labels integers. Peak memory beyond them:
    copies of the embeddings in float32, and in float64 if needed, and a few blocks of 128 MiB.

    Args:
        query: the embeddings to search for.
        query_labels: the labels of ``query``.
        reference: the embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, no row is left out.
        reference_labels: the labels of ``reference``.
        ks: the K to compute, each at most M, or N - 1 without a reference.
        backend: "torch", a matrix product in blocks; "faiss", ``IndexFlatIP`` on the CPU, with
            ``pip install "pml-gpw[faiss]"``; "auto" is "faiss" where it is installed and the
            embeddings are on the CPU of a Linux machine, else "torch", which computes where the
            embeddings are. Measured on a CPU, in units of the matrix product alone: FAISS 0.9 up
            to K = 32 and 1.0 at K = 1000, torch 1.2 and 1.6.
        metric: the similarity: "cosine", "dot" (inner product) or "l2" (Euclidean distance).

    Returns:
        The recall in 0..1 for each K; nan if no query has a relevant reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, ``ks``
            out of range, an unknown backend or metric.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from pml_gpw.evaluation import recall_at_k
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> recall_at_k(embeddings, labels, ks=(1, 2, 3), metric="l2")
        {1: 0.0, 2: 0.75, 3: 1.0}

    Reference: Jégou, Douze, Schmid, Product quantization for nearest neighbor search, 2011;
    for metric learning, Oh Song et al., Deep metric learning via lifted structured feature
    embedding, 2016.
    """
    check_backend_and_metric(backend, metric)
    ks = checked_ks(ks)
    task = checked_retrieval(query, query_labels, reference, reference_labels)
    check_ks_within(ks, task.num_compared)
    has_relevant = has_relevant_reference(task)
    warn_without_relevant(has_relevant, stacklevel=3)
    if not has_relevant.any():
        return dict.fromkeys(ks, float("nan"))
    ranks = first_relevant_ranks(task.filter_queries(has_relevant), ks, metric, backend)
    return recall_of_ranks(ranks, ks)


def recall_of_ranks(ranks: Tensor, ks: Iterable[int]) -> dict[int, float]:
    """Recall@K of the ranks (N,), from 0, of the first relevant references: ``mean(rank < K)``."""
    return {k: (ranks < k).double().mean().item() for k in ks}


@torch.no_grad()
def map_at_r(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    backend: str = "auto",
    metric: str = "cosine",
) -> float:
    """MAP@R: the mean average precision at R, the number of relevant references of each query.

    ``MAP@R = (1/N) Σ_i (1/R_i) Σ_{k=1..R_i} P_i(k)``

    with P_i(k) the precision of the k nearest references of query i where the k-th is relevant, and
    0 elsewhere; R_i counts the references with the label of i, without its own row where the
    queries are searched in.

    The order of references, ties, exactness, back ends, queries without a relevant reference and
    the warning of them are those of :func:`recall_at_k`. No list is longer than the largest R of
    its block of queries and a sixteenth of it, and blocks are smaller where lists are long. So
    memory is that of :func:`recall_at_k`, and time grows with R. Measured on one core for 8,000
    embeddings in 512 dims, in units of Recall@1000 with the same back end: 0.3 to 0.6 up to R = 49,
    1.1 to 1.4 at R = 399, 3.5 to 3.7 at R = 1999, where float64 decides for nearly every query.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point, labels integers.

    Args:
        query: the embeddings to search for.
        query_labels: the labels of ``query``.
        reference: the embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, no row is left out.
        reference_labels: the labels of ``reference``.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" (inner product) or "l2" (Euclidean distance).

    Returns:
        MAP@R in 0..1; nan if no query has a relevant reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, an unknown
            backend or metric.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        Two references are relevant, the nearest and the third: (1/1 + 0) / 2.

        >>> import torch
        >>> from pml_gpw.evaluation import map_at_r
        >>> gallery, gallery_labels = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 0])
        >>> map_at_r(torch.zeros(1, 1), torch.tensor([0]), gallery, gallery_labels, metric="l2")
        0.5

    Reference: Musgrave, Belongie, Lim, A metric learning reality check, 2020, section 3.2.
    """
    measures = _measures_of_arrays(
        query, query_labels, reference, reference_labels, (), backend, metric, "MAP@R is"
    )
    return measures.average_precision.mean().item()


@torch.no_grad()
def r_precision(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    backend: str = "auto",
    metric: str = "cosine",
) -> float:
    """R-precision: the share of relevant references among the R nearest.

    ``R-precision = (1/N) Σ_i r_i / R_i``

    with R_i the number of references with the label of query i, without its own row where the
    queries are searched in, and r_i how many of them are among the R_i nearest. Where every R is 1,
    this is Recall@1. The order of references, ties, exactness, back ends and queries without a
    relevant reference are those of :func:`recall_at_k`; memory and time are those of
    :func:`map_at_r`.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point, labels integers.

    Args:
        query: the embeddings to search for.
        query_labels: the labels of ``query``.
        reference: the embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, no row is left out.
        reference_labels: the labels of ``reference``.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" (inner product) or "l2" (Euclidean distance).

    Returns:
        R-precision in 0..1; nan if no query has a relevant reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, an unknown
            backend or metric.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        Of the two nearest of the query, 0 and 3, one is relevant.

        >>> import torch
        >>> from pml_gpw.evaluation import r_precision
        >>> gallery, gallery_labels = torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 0])
        >>> r_precision(torch.zeros(1, 1), torch.tensor([0]), gallery, gallery_labels, metric="l2")
        0.5

    Reference: Musgrave, Belongie, Lim, A metric learning reality check, 2020, section 3.2.
    """
    measures = _measures_of_arrays(
        query, query_labels, reference, reference_labels, (), backend, metric, "R-precision is"
    )
    return measures.r_precision.mean().item()


@torch.no_grad()
def retrieval_metrics(
    query: Array,
    query_labels: Array,
    reference: Array | None = None,
    reference_labels: Array | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
) -> dict[str, float]:
    """Recall@K, R-precision and MAP@R in one search.

    The values are those of :func:`recall_at_k`, :func:`r_precision` and :func:`map_at_r`, which
    state the equations; queries without a relevant reference are left out of all three.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point, labels integers.

    Args:
        query: the embeddings to search for.
        query_labels: the labels of ``query``.
        reference: the embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, no row is left out.
        reference_labels: the labels of ``reference``.
        ks: the K of Recall@K, each at most M, or N - 1 without a reference.
        backend: "torch", "faiss" or "auto", as in :func:`recall_at_k`.
        metric: the similarity: "cosine", "dot" (inner product) or "l2" (Euclidean distance).

    Returns:
        ``recall_at_K`` for each K, ``r_precision`` and ``map_at_r``, each in 0..1; nan if no query
        has a relevant reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, ``ks``
            out of range, an unknown backend or metric.
        ImportError: for ``backend="faiss"`` without faiss.

    Example:
        >>> import torch
        >>> from pml_gpw.evaluation import retrieval_metrics
        >>> embeddings = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> labels = torch.tensor([0, 1, 0, 1])
        >>> retrieval_metrics(embeddings, labels, ks=(1, 2), metric="l2")
        {'recall_at_1': 0.0, 'recall_at_2': 0.75, 'r_precision': 0.0, 'map_at_r': 0.0}
    """
    ks = checked_ks(ks)
    measures = _measures_of_arrays(
        query, query_labels, reference, reference_labels, ks, backend, metric, ALL_METRICS
    )
    return metrics_of_measures(measures, ks)


def _measures_of_arrays(
    query: Array,
    query_labels: Array,
    reference: Array | None,
    reference_labels: Array | None,
    ks: tuple[int, ...],
    backend: str,
    metric: str,
    names: str,
) -> QueryMeasures:
    check_backend_and_metric(backend, metric)
    task = checked_retrieval(query, query_labels, reference, reference_labels)
    check_ks_within(ks, task.num_compared)
    has_relevant = has_relevant_reference(task)
    warn_without_relevant(has_relevant, stacklevel=4, metrics=names)
    return query_measures(task.filter_queries(has_relevant), ks, metric, backend)


def metrics_of_measures(measures: QueryMeasures, ks: Iterable[int]) -> dict[str, float]:
    """The means over queries by name; nan where there are none."""
    recalls = recall_of_ranks(measures.ranks, ks)
    return {f"recall_at_{k}": value for k, value in recalls.items()} | {
        "r_precision": measures.r_precision.mean().item(),
        "map_at_r": measures.average_precision.mean().item(),
    }
