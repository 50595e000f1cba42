"""Where the first relevant reference stands in the order of each query, exactly.

A float32 search gives candidates; a bound on its error says between which ranks the first
relevant reference lies. Where a K falls between the two, float64 over all references decides.
References may be spread over shards: then each counts which of its own come first.

Shapes: N queries, C queries of a block, M references of a shard, D dims, L candidates of a query.
"""

from functools import cached_property

import torch
from torch import Tensor

from .exact import TIE, exact_ranks, largest
from .metrics import METRICS, as_vectors
from .neighbors import BACKENDS, blocks
from .retrieval import Retrieval
from .shards import ALONE, Shards


def first_relevant_ranks(task: Retrieval, ks: tuple[int, ...], metric: str, backend: str) -> Tensor:
    """A rank (N,) for each query: ``rank < K`` says whether its K nearest hold a relevant one.

    That is exact for each K of ``ks``, and the same for every backend. Every query must have a
    relevant reference.
    """
    search = FirstRelevant(task.reference, task.reference_labels, ks, metric, backend)
    return search.ranks(task.query, task.query_labels, task.own)


class FirstRelevant:
    """References (M, D), or a shard of them, made ready for the queries that come."""

    def __init__(
        self,
        reference: Tensor,
        reference_labels: Tensor,
        ks: tuple[int, ...],
        metric: str,
        backend: str,
        shards: Shards = ALONE,
    ) -> None:
        self.reference, self.labels, self.shards = reference, reference_labels, shards
        self.query_vectors, self.reference_vectors = METRICS[metric](reference, shards)
        self.vectors = as_vectors(self.reference_vectors, reference, torch.float32)
        # FAISS refuses to search nothing, which an empty shard has.
        self.nearest = BACKENDS[backend if len(reference) else "torch"](self.vectors)
        self.length = min(candidates(max(ks)), len(reference))
        self.ordered_ks = torch.tensor(sorted(ks), device=reference.device)
        # All shards go the same way only with the same numbers.
        band = 2 * float32_error(self.vectors.shape[1]) + TIE
        common = shards.maximum(torch.tensor([len(reference), band], dtype=torch.float64))
        self.longest, self.band = int(common[0]), float(common[1])

    def ranks(self, query: Tensor, query_labels: Tensor, own: Tensor) -> Tensor:
        """As :func:`first_relevant_ranks`, for queries (N, D) that every shard is asked."""
        shared = query is self.reference and self.query_vectors is self.reference_vectors
        vectors = self.vectors if shared else self._vectors_of(query, torch.float32)
        ranks = torch.empty_like(query_labels)
        doubtful = torch.empty_like(ranks, dtype=torch.bool)
        for rows in blocks(len(query), self.longest):
            low, high = self._bounds(vectors[rows], query_labels[rows], own[rows])
            ranks[rows] = low
            doubtful[rows] = self._ks_up_to(low) != self._ks_up_to(high)

        if bool(doubtful.any()):
            ranks[doubtful] = exact_ranks(
                self._vectors_of(query[doubtful], torch.float64),
                query_labels[doubtful],
                own[doubtful],
                self._exact_vectors,
                self.labels,
                self.shards,
            )
        return ranks

    def _bounds(self, vectors: Tensor, labels: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        similarities, indices = self.nearest(vectors, self.length)
        same = self.labels[indices] == labels[:, None]
        relevant = same & (indices + self.shards.start != own[:, None])
        return rank_bounds(
            similarities, relevant, ~same, self.band, len(self.reference), self.shards
        )

    def _vectors_of(self, query: Tensor, dtype: torch.dtype) -> Tensor:
        return as_vectors(self.query_vectors, query, dtype)

    @cached_property
    def _exact_vectors(self) -> Tensor:
        return as_vectors(self.reference_vectors, self.reference, torch.float64)

    def _ks_up_to(self, ranks: Tensor) -> Tensor:
        return torch.searchsorted(self.ordered_ks, ranks, right=True)


def rank_bounds(
    similarities: Tensor,
    relevant: Tensor,
    irrelevant: Tensor,
    band: float,
    references: int,
    shards: Shards = ALONE,
) -> tuple[Tensor, Tensor]:
    """The least and the largest possible rank (C,) of the first relevant reference.

    ``similarities`` (C, L) are the largest L of the shard's ``references``; two that are further
    apart than ``band`` are in their true order. The masks (C, L) leave out the query itself.
    """
    best = largest(similarities.masked_fill(~relevant, -torch.inf))
    if similarities.shape[1] == references:
        least = torch.full_like(best, -torch.inf)
    else:
        least = similarities.amin(dim=1, keepdim=True)  # bounds all references outside the list
    best, least = shards.maximum(torch.stack([best, least]))
    low = (irrelevant & (similarities > best.maximum(least) + band)).sum(dim=1)
    high = (irrelevant & (similarities >= best - band)).sum(dim=1)
    low, high, every = shards.total(torch.stack([low, high, torch.full_like(low, references)]))
    # References outside the list may stand before the best relevant one too.
    return low, torch.where((best - band <= least).squeeze(1), every, high)


def candidates(largest_k: int) -> int:
    """How long a list settles nearly all queries: the query itself and a few ties more than K."""
    return largest_k + 1 + 8 + largest_k // 16


def float32_error(dims: int) -> float:
    """A bound on the error of an inner product, in float32, of vectors of norm at most 1.

    ``dims`` roundings of 2^-24 in whatever order they are summed (Higham 2002, section 3.1), and
    some for rounding the vectors and the comparisons; inputs rounded to fewer bits if the
    precision of float32 products in torch says so.
    """
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through newer switches, which differ from part to part of torch
        precision = "medium"
    rounding = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}[precision]
    return 2 * rounding + (dims + 8) * 2.0**-24
