"""The grades of the nearest references of each query, in their exact order.

A float32 search lists the nearest references. Two references of the same grade may swap places
without any effect; so only two of different grades closer than the error bound raise a doubt. Where
some do, their similarities are computed in float64. Where they are too many, or where the list ends
within the doubt, float64 over all references decides.

Shapes: N queries, C queries of a block, M references, E dims, L references of the list of a query,
P pairs of a query and a reference.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from . import backends
from .exact import TIE_TOLERANCE, exact_order
from .retrieval import RetrievalTask
from .similarity_kinds import SIMILARITY_KINDS, to_vectors

LIST_COST = 16  # numbers of eight bytes that are held for each reference of a list, about

# Similarities of single pairs cost about as much as this many of a matrix product.
PAIR_COST = 32

# Similarities held at a time: 16 MiB, a size that allocators reuse instead of asking the system.
FLOAT64_BLOCK_SIZE = 2**21


class Ranking:
    """An index of the references of a task, and the lists of its queries."""

    def __init__(self, task: RetrievalTask, metric: str, backend: str) -> None:
        self.task = task
        query, reference = task.query, task.reference
        self.query_map, self.reference_map = SIMILARITY_KINDS[metric](reference)
        self.reference_vectors = to_vectors(self.reference_map, reference, torch.float32)
        self.query_vectors = self.reference_vectors
        if query is not reference or self.query_map is not self.reference_map:
            self.query_vectors = to_vectors(self.query_map, query, torch.float32)
        self.search = backends.BACKENDS[backend](self.reference_vectors)
        self.margin = 2 * float32_error(self.reference_vectors.shape[1]) + TIE_TOLERANCE

    def lists(self, depths: Tensor, num_left_out: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices of some queries and the grades (C, L) of their nearest references, in order.

        The first ``depths`` (N,) of each query are exact, where 0 leaves the query out; of the
        references, ``num_left_out`` (N,) do not count.
        """
        num_references = len(self.task.reference)
        lengths = list_length(depths + num_left_out).masked_fill(depths == 0, 0)
        lengths = lengths.clamp(max=num_references)
        order = lengths.argsort(descending=True, stable=True)[: int((depths > 0).sum())]
        start = 0
        while start < len(order):
            length = int(lengths[order[start]])
            matrices = 1 if self.task.by_labels else 4  # numbers (C, M) that are held at a time
            columns = num_references * matrices + LIST_COST * length
            rows = order[start : start + max(16, backends.BLOCK_SIZE // columns)]
            yield rows, self._grades(rows, depths[rows], length)
            start += len(rows)

    def _grades(self, rows: Tensor, depths: Tensor, length: int) -> Tensor:
        """The grades (C, the largest depth) of some queries, from lists (C, L)."""
        similarities, columns = self.search(self.query_vectors[rows], length)
        last = similarities[:, -1].clone()  # bounds all references outside the list
        if length == len(self.task.reference):
            last.fill_(-torch.inf)
        grades = self.task.grades(rows, columns)
        similarities, columns, grades = _without_left_out(similarities, columns, grades)

        floor = similarities.gather(1, depths[:, None] - 1) - self.margin
        doubtful = doubtful_pairs(similarities, grades, floor, self.margin)
        too_many = doubtful.sum(dim=1) * PAIR_COST > len(self.task.reference)
        all_references = (last >= floor.squeeze(1)) | too_many
        doubtful &= ~all_references[:, None]
        if bool(doubtful.any()):
            grades[doubtful] = self._reordered(rows, columns, grades, doubtful)
        grades = grades[:, : int(depths.max())].contiguous()
        if bool(all_references.any()):
            grades[all_references] = self._grades_of_all(rows[all_references], grades.shape[1])
        return grades

    def _reordered(self, rows: Tensor, columns: Tensor, grades: Tensor, doubtful: Tensor) -> Tensor:
        """The grades (P,) of the doubtful references of lists (C, L) in float64's order.

        The others stay where they are: only those of their own grade can change places with them.
        """
        counts = doubtful.sum(dim=1)
        query_index, columns = doubtful.nonzero()[:, 0], columns[doubtful]
        first = (counts.cumsum(dim=0) - counts)[query_index]
        cells = query_index, torch.arange(len(columns), device=columns.device) - first
        listed = columns.new_zeros((len(rows), int(counts.max())))
        similarities = torch.full_like(listed, -torch.inf, dtype=torch.float64)
        query = to_vectors(self.query_map, self.task.query[rows], torch.float64)
        similarities[cells] = self._pair_similarities(query, query_index, columns)
        listed[cells] = columns
        return grades[doubtful][first + exact_order(similarities, listed)[cells]]

    def _grades_of_all(self, rows: Tensor, length: int) -> Tensor:
        """The grades (C, L) of some queries, from float64 over all references."""
        parts = []
        for block in rows.split(max(16, FLOAT64_BLOCK_SIZE // len(self.task.reference))):
            query = to_vectors(self.query_map, self.task.query[block], torch.float64)
            similarities = query @ self._float64_vectors.T
            grades = self.task.grades(block)
            similarities.masked_fill_(grades.isnan(), -torch.inf)
            columns = torch.arange(similarities.shape[1], device=block.device)
            order = exact_order(similarities, columns.expand_as(similarities))[:, :length]
            parts.append(grades.gather(1, order).nan_to_num_(0.0))
        return torch.cat(parts)

    def _pair_similarities(self, query: Tensor, query_index: Tensor, columns: Tensor) -> Tensor:
        """Similarities (P,) of queries and references, in float64."""
        result = query.new_zeros(len(columns))
        size = max(1, FLOAT64_BLOCK_SIZE // query.shape[1])
        for chunk in torch.arange(len(columns), device=columns.device).split(size):
            references = self._float64_vectors[columns[chunk]]
            references *= query[query_index[chunk]]
            result[chunk] = references.sum(dim=1)
        return result

    @cached_property
    def _float64_vectors(self) -> Tensor:
        return to_vectors(self.reference_map, self.task.reference, torch.float64)


def _without_left_out(
    similarities: Tensor, columns: Tensor, grades: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The lists (C, L) with the references of grade NaN at their ends, as of similarity -inf."""
    left_out = grades.isnan()
    order = left_out.byte().argsort(dim=1, stable=True)
    similarities = similarities.masked_fill(left_out, -torch.inf).gather(1, order)
    return similarities, columns.gather(1, order), grades.nan_to_num(0.0).gather(1, order)


def doubtful_pairs(similarities: Tensor, grades: Tensor, floor: Tensor, margin: float) -> Tensor:
    """References (C, L) above the floor with one of another grade within the margin.

    Lists are sorted, so that the nearest of another grade is the last before or the first after
    those of the same grade around a reference.
    """
    changes = grades[:, :-1] != grades[:, 1:]
    before = torch.where(changes, similarities[:, :-1], torch.inf)
    after = torch.where(changes, similarities[:, 1:], -torch.inf)
    before = pad(before, (1, 0), value=torch.inf).cummin(dim=1).values
    after = pad(after, (0, 1), value=-torch.inf).flip(1).cummax(dim=1).values.flip(1)
    near = (before - similarities <= margin) | (similarities - after <= margin)
    return near & (similarities >= floor)


def list_length(needed: Tensor) -> Tensor:
    """The length of a list that decides nearly all queries: what is needed and room for ties."""
    return needed + 8 + needed // 16


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
