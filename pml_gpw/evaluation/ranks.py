"""The exact rank of the first relevant reference in the order of each query.

A float32 search lists the nearest references; a bound on its error says between which two ranks the
first relevant reference lies. Where a K falls between the two, float64 over all references decides.

Shapes: N queries, C queries of a block, M references, D dims, L references of the list
of a query.
"""

from functools import cached_property

import torch
from torch import Tensor

from .backends import BACKENDS, row_blocks
from .exact import TIE_TOLERANCE, exact_ranks
from .retrieval import RetrievalTask
from .similarity_kinds import SIMILARITY_KINDS, to_vectors

LIST_ENTRY = 24
"""Similarities that take as much memory as an entry of a list, with all that is made of it."""


def first_relevant_ranks(
    task: RetrievalTask, ks: tuple[int, ...], metric: str, backend: str
) -> Tensor:
    """A rank (N,) per query: ``rank < K`` says whether its K nearest hold a relevant reference.

    That is exact for each K of ``ks``, and the same for every back end. Every query must have a
    relevant reference.
    """
    search = FirstRelevantSearch(task.reference, task.reference_labels, ks, metric, backend)
    return search.ranks(task.query, task.query_labels, task.self_index)


class FirstRelevantSearch:
    """An index of the references (M, D), for any number of queries."""

    def __init__(
        self,
        reference: Tensor,
        reference_labels: Tensor,
        ks: tuple[int, ...],
        metric: str,
        backend: str,
    ) -> None:
        self.reference, self.labels = reference, reference_labels
        self.query_map, self.reference_map = SIMILARITY_KINDS[metric](reference)
        self.vectors = to_vectors(self.reference_map, reference, torch.float32)
        self.search = BACKENDS[backend](self.vectors)
        self.largest_k = max(ks, default=0)
        self.length = min(list_length(self.largest_k), len(reference))
        self.sorted_ks = torch.tensor(sorted(ks), dtype=torch.int64, device=reference.device)
        self.margin = 2 * float32_error(self.vectors.shape[1]) + TIE_TOLERANCE

    def ranks(self, query: Tensor, query_labels: Tensor, self_index: Tensor) -> Tensor:
        """The ranks (N,) of :func:`first_relevant_ranks`."""
        vectors = self._query_vectors(query)
        low, high = torch.empty_like(query_labels), torch.empty_like(query_labels)
        # Long lists take memory as well: an entry as much as some similarities.
        columns = len(self.reference) + LIST_ENTRY * list_length(self.largest_k)
        for rows in row_blocks(len(query), columns):
            similarities, indices = self.search(vectors[rows], self.length)
            low[rows], high[rows] = self._rank_bounds(
                similarities, indices, query_labels[rows], self_index[rows]
            )
        return self._decided_ranks(low, high, query, query_labels, self_index)

    def _query_vectors(self, query: Tensor) -> Tensor:
        same_rows = query is self.reference and self.query_map is self.reference_map
        return self.vectors if same_rows else to_vectors(self.query_map, query, torch.float32)

    def _decided_ranks(
        self, low: Tensor, high: Tensor, query: Tensor, query_labels: Tensor, self_index: Tensor
    ) -> Tensor:
        """The lower bounds (N,) where they decide for all ks, exact ranks elsewhere."""
        ranks = low
        undecided = self._count_ks_up_to(low) != self._count_ks_up_to(high)
        if bool(undecided.any()):
            ranks[undecided] = exact_ranks(
                to_vectors(self.query_map, query[undecided], torch.float64),
                query_labels[undecided],
                self_index[undecided],
                self._float64_vectors,
                self.labels,
            )
        return ranks

    def _rank_bounds(
        self, similarities: Tensor, indices: Tensor, labels: Tensor, self_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        same_label = self.labels[indices] == labels[:, None]
        is_other = indices != self_index[:, None]
        return rank_bounds(
            similarities,
            same_label & is_other,
            ~same_label,
            self.margin,
            len(self.reference),
        )

    @cached_property
    def _float64_vectors(self) -> Tensor:
        return to_vectors(self.reference_map, self.reference, torch.float64)

    def _count_ks_up_to(self, ranks: Tensor) -> Tensor:
        return torch.searchsorted(self.sorted_ks, ranks, right=True)


def rank_bounds(
    similarities: Tensor,
    relevant: Tensor,
    irrelevant: Tensor,
    margin: float,
    num_references: int,
) -> tuple[Tensor, Tensor]:
    """The smallest and the largest possible rank (C,) of the first relevant reference.

    ``similarities`` (C, L) are the L largest of ``num_references``; two that differ by
    more than ``margin`` are in their true order. A query's own row is in neither mask (C, L).
    """
    best = similarities.masked_fill(~relevant, -torch.inf).amax(dim=1, keepdim=True)
    if similarities.shape[1] == num_references:
        last = torch.full_like(best, -torch.inf)
    else:
        last = similarities.amin(dim=1, keepdim=True)  # bounds all references outside the list
    low = (irrelevant & (similarities > best.maximum(last) + margin)).sum(dim=1)
    high = (irrelevant & (similarities >= best - margin)).sum(dim=1)
    # References outside the list may come before the best relevant one too.
    list_too_short = (best - margin <= last).squeeze(1)
    return low, torch.where(list_too_short, num_references, high)


def list_length(largest_k: int) -> int:
    """The length of a list that decides nearly all queries: K, the own row and room for ties."""
    return largest_k + 1 + 8 + largest_k // 16


def float32_error(dims: int) -> float:
    """A bound on the error of a float32 inner product of vectors of norm at most 1.

    It counts ``dims`` roundings of 2^-24, in whatever order the products are summed (Higham 2002,
    section 3.1), and some more for rounding the vectors and for the comparisons. Where torch is
    set to a lower precision of float32 products, the rounding of their inputs is added.
    """
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set through newer switches, which differ from part to part of torch
        precision = "medium"
    input_rounding = {"highest": 0.0, "high": 2.0**-10, "medium": 2.0**-7}[precision]
    return 2 * input_rounding + (dims + 8) * 2.0**-24
