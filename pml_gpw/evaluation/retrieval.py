"""A retrieval task, checked: which queries are compared with which references.

Shapes: N queries, M references, D dims.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..distributed.exchange import Exchange
from ..related_pairs import relation_labels
from .backends import row_blocks
from .relevance import Rule, count_same_label

Array = Tensor | np.ndarray
FLOAT32_INTEGERS = 2**24  # float32 tells integers up to here apart


@dataclass(frozen=True)
class RetrievalTask:
    """Queries (N, D) and references (M, D), on one device, and what they are to each other.

    ``query_labels`` (N,) and ``reference_labels`` (M,): int64, or of any shape where a rule, in
    place of equal labels, says which references are relevant. ``self_index`` (N,): the place of the
    query's own row among the references, which the query is not compared with; None where there is
    none. ``ignore``: a rule of others that it is not compared with.
    """

    query: Tensor
    query_labels: Any
    reference: Tensor
    reference_labels: Any
    self_index: Tensor | None = None
    relevant: Rule | None = None
    ignore: Rule | None = None

    @property
    def by_labels(self) -> bool:
        """True where equal labels say everything, so that no matrix (C, M) has to be made."""
        return self.relevant is None and self.ignore is None

    def gathered(self, exchange: Exchange, sizes: Sequence[Sequence[int]]) -> "RetrievalTask":
        """The queries of this process and the references of all.

        ``sizes``: how many queries each process has, and references. Where there are no labels,
        places take their part.
        """
        parts = [rows for rows in (self.reference, self.reference_labels) if rows is not None]
        reference, *labels = exchange.gather(*((sizes[1], rows) for rows in parts))
        own = exchange.local(sizes[0])
        places = torch.arange(max(own.stop, len(reference)), device=reference.device)
        self_index = None if self.self_index is None else places[own]
        if labels:
            return RetrievalTask(self.query, self.query_labels, reference, labels[0], self_index)
        others = places[: len(reference)]
        return RetrievalTask(self.query, places[own], reference, others, self_index)

    def grades(self, rows: Tensor, columns: Tensor | None = None) -> Tensor:
        """The grade of each reference for some queries: 0 is irrelevant, NaN left out.

        Of all references (C, M), or of the ``columns`` (C, L).
        """
        if columns is not None and not self.by_labels:
            return self.grades(rows).gather(1, columns)
        if self.relevant is not None:
            grades = self.relevant(rows)
        else:
            labels = self.reference_labels if columns is None else self.reference_labels[columns]
            grades = self.query_labels[rows, None] == labels
        grades = grades if grades.is_floating_point() else grades.float()
        if self.ignore is not None:
            grades = grades.masked_fill(self.ignore(rows), torch.nan)
        if self.self_index is not None:
            all_columns = torch.arange(len(self.reference), device=rows.device)
            is_own = (all_columns if columns is None else columns) == self.self_index[rows, None]
            grades = grades.masked_fill(is_own, torch.nan)
        return grades

    def counts(self) -> tuple[Tensor, Tensor]:
        """The numbers of relevant references and of those left out, of each query (N,)."""
        if self.by_labels:
            left_out = torch.full_like(self.query_labels, int(self.self_index is not None))
            return count_same_label(self.query_labels, self.reference_labels) - left_out, left_out
        queries = torch.arange(len(self.query), device=self.query.device)
        counts = queries.new_zeros((2, len(queries)))
        for rows in row_blocks(len(queries), 4 * len(self.reference)):
            grades = self.grades(queries[rows])
            counts[0, rows] = (grades > 0).sum(dim=1)
            counts[1, rows] = grades.isnan().sum(dim=1)
        return counts[0], counts[1]


def checked_retrieval(
    query: Any,
    query_labels: Any = None,
    reference: Any = None,
    reference_labels: Any = None,
    *,
    ref_includes_query: bool = False,
    device: torch.device | None = None,
    relevant: Any = None,
    parts: int = 1,
) -> RetrievalTask:
    """The task, or a ValueError that names the argument at fault.

    Without a reference the queries are the references; then, and with ``ref_includes_query``,
    query i is reference i. All tensors move to ``device``, or to the device of ``query``. Where
    something else than labels says what is ``relevant``, they may have any shape, or be left out.
    One of several ``parts`` may have no rows.
    """
    checked_labels: Any = _checked_labels if relevant is None else _labels_of_relation
    if relevant is not None and query_labels is None and reference_labels is None:
        checked_labels = _no_labels
    elif (reference is None) != (reference_labels is None):
        given = "reference_labels" if reference is None else "reference"
        raise ValueError(f"reference and reference_labels must come together, got {given} alone")
    query = checked_embeddings("query", query, device, parts)
    query_labels = checked_labels("query_labels", query_labels, query)
    self_index = torch.arange(len(query), device=query.device)
    if reference is None:
        return RetrievalTask(query, query_labels, query, query_labels, self_index)

    reference = checked_embeddings("reference", reference, query.device, parts)
    reference_labels = checked_labels("reference_labels", reference_labels, reference)
    if reference.shape[1] != query.shape[1]:
        raise ValueError(
            f"reference must have the {query.shape[1]} dimensions of query, "
            f"got {reference.shape[1]}"
        )
    task = RetrievalTask(query, query_labels, reference, reference_labels)
    if ref_includes_query:
        _check_begins_with_queries(task)
        return replace(task, self_index=self_index)
    return task


def checked_embeddings(
    name: str, values: Any, device: torch.device | None = None, parts: int = 1
) -> Tensor:
    """A tensor or array as a finite floating-point (N, D) tensor; N may be 0 in several parts.

    Integers, which PML's calculator takes as well, become float64.
    """
    tensor = _from_array(name, values)
    tensor = tensor.double() if getattr(tensor, "dtype", None) in checks.INTEGERS else tensor
    checks.embedding_matrix(name, tensor)
    if (len(tensor) == 0 and parts == 1) or tensor.shape[1] == 0:
        raise ValueError(f"{name} must have at least one row and column, got {(*tensor.shape,)}")
    device = device or tensor.device
    # MPS has no float64, which all ranks need.
    return tensor.detach().to("cpu" if device.type == "mps" else device)


def _checked_labels(name: str, values: Any, embeddings: Tensor) -> Tensor:
    labels = checks.integer_labels(name, _from_array(name, values), len(embeddings))
    return labels.to(embeddings.device).contiguous()


def _no_labels(name: str, values: Any, embeddings: Tensor) -> None:
    """None: relations are told indices."""


def _labels_of_relation(name: str, values: Any, embeddings: Tensor) -> Tensor:
    return relation_labels(name, _from_array(name, values), len(embeddings), embeddings.device)


def check_compared_labels(name: str, labels: Any) -> None:
    """Raise for labels of which PML would make others, when it makes them float32 to compare."""
    checks.instance(name, labels, Tensor)
    if labels.is_complex() or bool(labels.isnan().any()):
        raise ValueError(f"{name} must be real numbers, got {labels.dtype} with complex or NaN")
    is_changed = labels.float().to(labels.dtype) != labels
    if bool((is_changed & (labels.double().abs() > FLOAT32_INTEGERS)).any()):
        raise ValueError(
            f"{name} must be within ±2**24 where a label_comparison_fn is given, since PML makes "
            f"them float32, got {labels[is_changed][0].item()}: give smaller numbers, or several "
            "columns"
        )


def _from_array(name: str, values: Any) -> Any:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must be an array without a mask, got a masked array")
    if not isinstance(values, np.ndarray):
        return values  # a tensor, or a value that the checks refuse by name
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got an array of {values.dtype}") from None


def _check_begins_with_queries(task: RetrievalTask) -> None:
    first, labels = (rows[: len(task.query)] for rows in (task.reference, task.reference_labels))
    if not (
        first.shape == task.query.shape
        and torch.equal(labels, task.query_labels)
        and torch.allclose(first, task.query.to(first))
    ):
        raise ValueError(
            "reference must begin with the rows of query, and reference_labels with "
            "query_labels, when ref_includes_query is True; got others"
        )
