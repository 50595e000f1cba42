"""The relevance of the R nearest references of each query, in their exact order.

As for ranks, a float32 search lists the nearest references. Two references that are both relevant,
or both not, may swap places without any effect; so only a relevant and an irrelevant reference
closer than the error bound raise a doubt. Where some do, their similarities are computed in
float64. Where they are too many, or where the list ends within the doubt, float64 over all
references decides.

Shapes: N queries, C queries of a block, M references, E dims, L references of the list
of a query, R relevant references of a query, P pairs of a query and a reference.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from . import backends
from .average_precision import precision_at_r
from .exact import FLOAT64_BLOCK_SIZE
from .exact_lists import exact_order, exact_relevance
from .ranks import FirstRelevantSearch, list_length
from .relevance import count_relevant
from .retrieval import RetrievalTask
from .similarity_kinds import to_vectors

LIST_COST = 16  # numbers of eight bytes that are held for each reference of a list, about

# Similarities of single pairs cost about as much as this many of a matrix product.
PAIR_COST = 32


class QueryMeasures(NamedTuple):
    """Of each query: the rank of its first relevant reference, R-precision, and AP@R; (N,) each.

    A rank says for each K that was asked for whether it is smaller than K; it is no more exact.
    """

    ranks: Tensor
    r_precision: Tensor
    average_precision: Tensor

    @classmethod
    def concatenated(cls, parts: "list[QueryMeasures]") -> "QueryMeasures":
        """The measures of the queries of all parts."""
        return cls(*(torch.cat(values) for values in zip(*parts, strict=True)))


def query_measures(
    task: RetrievalTask, ks: tuple[int, ...], metric: str, backend: str
) -> QueryMeasures:
    """The measures of the queries of a task, which must have a relevant reference each."""
    search = RankedRelevanceSearch(task.reference, task.reference_labels, ks, metric, backend)
    return search.measures(task.query, task.query_labels, task.self_index, count_relevant(task))


class RankedRelevanceSearch(FirstRelevantSearch):
    """An index of the references (M, D) for any number of queries."""

    def measures(
        self, query: Tensor, query_labels: Tensor, self_index: Tensor, num_relevant: Tensor
    ) -> QueryMeasures:
        """The measures of the queries (N, D).

        ``num_relevant`` (N,) is R, the number of relevant references of each query,
        and at least 1.
        """
        vectors = self._query_vectors(query)
        low, high = torch.zeros_like(query_labels), torch.zeros_like(query_labels)
        r_precision = torch.empty_like(query_labels, dtype=torch.float64)
        average_precision = torch.empty_like(r_precision)
        for rows, length in self._blocks(num_relevant):
            labels, own, counts = query_labels[rows], self_index[rows], num_relevant[rows]
            longest = max(length, self.length)  # K may need more than R
            similarities, indices = self.search(vectors[rows], min(longest, len(self.reference)))
            if self.largest_k:
                low[rows], high[rows] = self._rank_bounds(similarities, indices, labels, own)
            similarities, indices = similarities[:, :length], indices[:, :length]
            relevant = self._relevance(
                similarities, indices, query[rows], labels, own, counts, length
            )
            r_precision[rows], average_precision[rows] = precision_at_r(relevant, counts)
        ranks = self._decided_ranks(low, high, query, query_labels, self_index)
        return QueryMeasures(ranks, r_precision, average_precision)

    def _blocks(self, num_relevant: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Indices of queries with about the same R, and the length of lists that R needs."""
        order = num_relevant.argsort(descending=True, stable=True)
        sorted_counts = num_relevant[order]
        start = 0
        while start < len(order):
            length = min(list_length(int(sorted_counts[start])), len(self.reference))
            columns = len(self.reference) + LIST_COST * length
            step = max(16, backends.BLOCK_SIZE // columns)
            yield order[start : start + step], length
            start += step

    def _relevance(
        self,
        similarities: Tensor,
        indices: Tensor,
        query: Tensor,
        labels: Tensor,
        self_index: Tensor,
        num_relevant: Tensor,
        length: int,
    ) -> Tensor:
        """True where one of the nearest is relevant, (C, the largest R), from lists (C, L)."""
        largest = int(num_relevant.max())
        complete = similarities.shape[1] == len(self.reference)
        if complete:
            last = similarities.new_full((len(similarities),), -torch.inf)
        else:
            last = similarities[:, -1].clone()  # bounds all references outside the list
        similarities = similarities.masked_fill(indices == self_index[:, None], -torch.inf)
        relevant = self.labels[indices] == labels[:, None]
        similarities, columns, relevant = _sorted_lists(similarities, indices, relevant)

        floor = similarities.gather(1, num_relevant[:, None] - 1) - self.margin
        rows = _has_doubts(similarities, relevant, floor, self.margin).nonzero().squeeze(1)
        pairs = _doubtful_pairs(similarities[rows], relevant[rows], floor[rows], self.margin)
        too_many = pairs.sum(dim=1) * PAIR_COST > len(self.reference)
        list_too_short = last >= floor.squeeze(1)
        result = relevant[:, :largest].contiguous()
        list_too_short[rows] |= too_many
        few = ~list_too_short[rows]
        if bool(few.any()):
            chosen = rows[few]
            result[chosen] = self._reordered(
                similarities[chosen], columns[chosen], relevant[chosen], pairs[few], query[chosen]
            )[:, :largest]
        if bool(list_too_short.any()):
            result[list_too_short] = exact_relevance(
                to_vectors(self.query_map, query[list_too_short], torch.float64),
                labels[list_too_short],
                self_index[list_too_short],
                largest,
                self._float64_vectors,
                self.labels,
            )
        return result

    def _reordered(
        self, similarities: Tensor, columns: Tensor, relevant: Tensor, pairs: Tensor, query: Tensor
    ) -> Tensor:
        """``relevant`` (C, L) in the order that float64 gives to the marked ``pairs`` (C, L)."""
        query_vectors = to_vectors(self.query_map, query, torch.float64)
        exact = similarities.double()
        exact[pairs] = self._float64_similarities(
            query_vectors, pairs.nonzero()[:, 0], columns[pairs]
        )
        return relevant.gather(1, exact_order(exact, columns))

    def _float64_similarities(
        self, query_vectors: Tensor, query_index: Tensor, columns: Tensor
    ) -> Tensor:
        """Similarities (P,) of queries and references, in float64."""
        result = query_vectors.new_zeros(len(columns))
        size = max(1, FLOAT64_BLOCK_SIZE // query_vectors.shape[1])
        for chunk in torch.arange(len(columns), device=columns.device).split(size):
            references = self._float64_vectors[columns[chunk]]
            references *= query_vectors[query_index[chunk]]
            result[chunk] = references.sum(dim=1)
        return result


def _sorted_lists(
    similarities: Tensor, columns: Tensor, relevant: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The lists (C, L), which a query's own row has put out of order."""
    if bool((similarities[:, :-1] >= similarities[:, 1:]).all()):
        return similarities, columns, relevant
    similarities, order = similarities.sort(dim=1, descending=True, stable=True)
    return similarities, columns.gather(1, order), relevant.gather(1, order)


def _has_doubts(similarities: Tensor, relevant: Tensor, floor: Tensor, margin: float) -> Tensor:
    """True where two neighbours above the floor, one relevant, are within the margin, (C,)."""
    near = similarities[:, :-1] - similarities[:, 1:] <= margin
    differ = relevant[:, :-1] != relevant[:, 1:]
    return (near & differ & (similarities[:, 1:] >= floor)).any(dim=1)


def _doubtful_pairs(similarities: Tensor, relevant: Tensor, floor: Tensor, margin: float) -> Tensor:
    """References (C, L) above the floor with one of the other relevance within the margin.

    Lists are sorted, so that the nearest of the other relevance is the last before or the first
    after a reference.
    """
    doubtful = torch.zeros_like(relevant)
    for of_kind in (relevant, ~relevant):
        before = similarities.masked_fill(of_kind, torch.inf).cummin(dim=1).values
        after = similarities.masked_fill(of_kind, -torch.inf).flip(1).cummax(dim=1).values.flip(1)
        near = (before - similarities <= margin) | (similarities - after <= margin)
        doubtful |= of_kind & near
    return doubtful & (similarities >= floor)
