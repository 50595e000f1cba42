"""Columns of pairs: a query and its document in each row, and perhaps documents that are negatives.

Shapes: N rows, M documents of all columns, D dims.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from . import checks

QUERY_TO_DOC, DOC_TO_QUERY = "query_to_doc", "doc_to_query"
DIRECTIONS = (QUERY_TO_DOC, DOC_TO_QUERY)
OTHERS = ("query_to_query", "doc_to_doc")
"""Directions of sentence-transformers in which no pair is positive."""
NO_QUERY = -1
"""The label of a document that no query asks for."""


class ColumnComparison(NamedTuple):
    """The anchors and references of a direction, with their labels, (N,) or (N, 2).

    Equal labels are positives; of two labels, one that is equal is enough.
    """

    anchors: Tensor
    references: Tensor
    labels: Tensor
    reference_labels: Tensor


def checked_directions(directions: Sequence[str]) -> tuple[str, ...]:
    """The names of directions, or a ValueError.

    >>> checked_directions(["query_to_doc"])
    ('query_to_doc',)
    """
    if isinstance(directions, str) or not directions:
        raise ValueError(f"directions must be names out of {DIRECTIONS}, got {directions!r}")
    for name in directions:
        if name in OTHERS:
            raise ValueError(f"directions must have positives, and {name} has none")
        checks.one_of("directions", name, DIRECTIONS)
    if len({*directions}) < len(directions):
        raise ValueError(f"directions must be different ones, got {directions!r}")
    return tuple(directions)


def column_comparisons(
    columns: Sequence[Tensor],
    directions: tuple[str, ...],
    query_ids: Tensor | None = None,
    doc_ids: Tensor | Sequence[Tensor] | None = None,
    first_row: int = 0,
) -> list[ColumnComparison]:
    """The comparison of each direction.

    ``columns``: queries (N, D), their documents (N, D), and documents that are negatives (·, D).
    ``query_ids`` (N,) and ``doc_ids``, (N,) or a tensor for each column of documents: rows of equal
    ids are positives of each other; integers >= 0. ``first_row``: the number of the first row among
    those of all processes, where there are no ids.
    Errors: ValueError for fewer than two columns, for other shapes, and for ids that do not fit.

    >>> import torch
    >>> found = column_comparisons([torch.rand(2, 3)] * 3, ("query_to_doc",))
    >>> found[0].labels, found[0].reference_labels
    (tensor([0, 1]), tensor([ 0,  1, -1, -1]))
    """
    if not isinstance(columns, (list, tuple)) or len(columns) < 2:
        got = len(columns) if isinstance(columns, (list, tuple)) else type(columns).__name__
        raise ValueError(f"columns must be queries and documents, two tensors or more, got {got}")
    for number, column in enumerate(columns):
        checks.float_matrix(f"columns[{number}]", column)
    queries, documents, *negatives = columns
    n, device = len(queries), queries.device
    if len(documents) != n:
        raise ValueError(
            f"columns[1] must have a document for each of {n} queries, got {len(documents)}"
        )
    docs_of = None if doc_ids is None else _checked_doc_ids(doc_ids, columns[1:], device)
    asked = None
    if query_ids is not None:
        asked = _checked_ids("query_ids", query_ids, n, device)
    if docs_of is None or asked is not None:
        rows = torch.arange(first_row, first_row + n, device=device) if asked is None else asked
        nobody = torch.full((sum(map(len, negatives)),), NO_QUERY, device=device)
        labels, of_docs = rows, torch.cat([rows, nobody])
        if docs_of is not None:
            labels = torch.stack([rows, docs_of[0]], dim=1)
            of_docs = torch.stack([of_docs, torch.cat(docs_of)], dim=1)
    else:
        labels, of_docs = docs_of[0], torch.cat(docs_of)
    there = ColumnComparison(queries, torch.cat(list(columns[1:])), labels, of_docs)
    back = ColumnComparison(documents, queries, of_docs[:n], labels)
    found = {QUERY_TO_DOC: there, DOC_TO_QUERY: back}
    return [found[name] for name in directions]


def share_an_id(labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The relation (C, M) of items of which one of two ids, (C, 2) and (M, 2), is the same.

    >>> import torch
    >>> share_an_id(torch.tensor([[0, 5]]), torch.tensor([[0, 7], [1, 5], [1, 7]]))
    tensor([[ True,  True, False]])
    """
    one, other = (labels[:, i].unsqueeze(1) == reference_labels[:, i] for i in (0, 1))
    return one | other


def _checked_doc_ids(
    doc_ids: Tensor | Sequence[Tensor], documents: Sequence[Tensor], device: torch.device
) -> list[Tensor]:
    given = [doc_ids] if isinstance(doc_ids, Tensor) else list(doc_ids)
    if len(given) != len(documents):
        raise ValueError(
            f"doc_ids must be a tensor for each of {len(documents)} columns of documents, "
            f"got {len(given)}"
        )
    sizes = zip(given, map(len, documents), strict=True)
    return [_checked_ids(f"doc_ids[{i}]", ids, n, device) for i, (ids, n) in enumerate(sizes)]


def _checked_ids(name: str, ids: Tensor, length: int, device: torch.device) -> Tensor:
    checked = checks.integer_labels(name, ids, length).to(device)
    if checked.numel() and not torch.compiler.is_compiling():
        checks.refuse_unless_in_range(name, checked, 0, checks.LARGEST_INTEGER)
    return checked
