"""Recall@K of embeddings."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .lone import has_relevant, warn_of_lone
from .metrics import METRICS
from .neighbors import BACKENDS
from .ranks import first_relevant_ranks
from .retrieval import checked_choice, checked_ks, checked_retrieval, within_depth


@torch.no_grad()
def recall_at_k(
    query: Tensor | np.ndarray,
    query_labels: Tensor | np.ndarray,
    reference: Tensor | np.ndarray | None = None,
    reference_labels: Tensor | np.ndarray | None = None,
    ks: Iterable[int] = (1, 2, 4, 8),
    backend: str = "auto",
    metric: str = "cosine",
) -> dict[int, float]:
    """Recall@K: the share of queries with a relevant reference among their K nearest.

    ``Recall@K = (1/N) Σ_i [ a reference of the label of i is among the K nearest of i ]``

    References are ordered by similarity, and equal similarities by index, the lower first, as a
    stable sort does. Similarities are compared in float64 and equal where they differ by less
    than 1e-12 of the norms, so the result is exact and the same for every backend: a float32
    search proposes, and wherever its rounding could decide, float64 over all references does.
    Queries without a relevant reference are left out of the mean; a warning says how many.

    Shapes: ``query`` (N, D), ``query_labels`` (N,), ``reference`` (M, D), ``reference_labels``
    (M,); tensors or arrays, embeddings floating point, labels integers. Peak memory beyond them:
    copies of the embeddings in float32, and in float64 if needed, and a few blocks of 128 MiB.

    Args:
        query: embeddings to search for.
        query_labels: their classes.
        reference: embeddings to search in. Without them the queries are searched in, and each
            query's own row is left out; with them, nothing is.
        reference_labels: the classes of ``reference``.
        ks: the K to compute, each at most M, or N - 1 without a reference.
        backend: "torch", a matrix product in blocks; "faiss", ``IndexFlatIP`` on the CPU, with
            ``pip install "pml-gpw[faiss]"``; "auto" is "faiss" where it is installed and the
            embeddings are on the CPU of a Linux machine, else "torch", which computes where the
            embeddings are. Measured on a CPU, in units of the matrix product alone: FAISS 0.9 up
            to K = 32 and 1.0 at K = 1000, torch 1.2 and 1.6.
        metric: "cosine", "dot" (inner product) or "l2" (Euclidean distance).

    Returns:
        The recall in 0..1 for each K; nan if no query has a relevant reference.

    Raises:
        ValueError: for NaN or Inf, shapes that do not fit, labels that are not integers, ``ks``
            out of range, an unknown backend or metric.
        ImportError: for ``backend="faiss"`` without faiss.

    Reference: Jégou, Douze, Schmid, Product quantization for nearest neighbor search, 2011;
    for metric learning, Oh Song et al., Deep metric learning via lifted structured feature
    embedding, 2016.
    """
    checked_choice("backend", backend, BACKENDS)
    checked_choice("metric", metric, METRICS)
    ks = checked_ks(ks)
    task = checked_retrieval(query, query_labels, reference, reference_labels)
    within_depth(ks, task.depth)
    answerable = has_relevant(task)
    warn_of_lone(answerable, stacklevel=3)
    if not answerable.any():
        return dict.fromkeys(ks, float("nan"))
    return recalls(first_relevant_ranks(task.select(answerable), ks, metric, backend), ks)


def recalls(ranks: Tensor, ks: Iterable[int]) -> dict[int, float]:
    """The share of the ranks (N,) of first relevant references below each K."""
    return {k: (ranks < k).double().mean().item() for k in ks}
