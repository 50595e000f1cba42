"""Metrics of the references that a query retrieves: Recall@K."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .options import check_backend_and_metric, check_ks_within, checked_ks
from .ranks import first_relevant_ranks
from .relevance import has_relevant_reference, warn_without_relevant
from .retrieval import Array, checked_retrieval


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
