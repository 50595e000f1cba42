"""A retrieval task, checked: which queries are compared with which references.

Shapes: N queries, M references, D dims.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checks

Array = Tensor | np.ndarray
FLOAT32_INTEGERS = 2**24  # float32 tells integers up to here apart


class RetrievalTask(NamedTuple):
    """Queries (N, D) and references (M, D) with int64 labels, all on one device.

    ``self_index`` (N,) is the index of the query's own row among the references, which the query is
    not compared with; -1 where there is none. ``num_compared`` is the number of references that a
    query is compared with.
    """

    query: Tensor
    query_labels: Tensor
    reference: Tensor
    reference_labels: Tensor
    self_index: Tensor
    num_compared: int

    def filter_queries(self, keep: Tensor) -> "RetrievalTask":
        """The same task for the queries where ``keep`` (N,) is true."""
        if bool(keep.all()):
            return self
        return self._replace(
            query=self.query[keep],
            query_labels=self.query_labels[keep],
            self_index=self.self_index[keep],
        )


def checked_retrieval(
    query: Any,
    query_labels: Any,
    reference: Any = None,
    reference_labels: Any = None,
    ref_includes_query: bool = False,
    device: torch.device | None = None,
    min_rows: int = 1,
) -> RetrievalTask:
    """The task, or a ValueError that names the argument at fault.

    Without a reference the queries are the references; then, and with ``ref_includes_query``,
    query i is reference i. All tensors move to ``device``, or to the device of ``query``. Queries
    and references must have ``min_rows`` rows each; for shards that is 0.
    """
    check_together(reference, reference_labels)
    query = checked_embeddings("query", query, device, min_rows)
    query_labels = _checked_labels("query_labels", query_labels, query)
    if reference is None:
        self_index = torch.arange(len(query), device=query.device)
        return RetrievalTask(query, query_labels, query, query_labels, self_index, len(query) - 1)

    reference = checked_embeddings("reference", reference, query.device, min_rows)
    reference_labels = _checked_labels("reference_labels", reference_labels, reference)
    if reference.shape[1] != query.shape[1]:
        raise ValueError(
            f"reference must have the {query.shape[1]} dimensions of query, "
            f"got {reference.shape[1]}"
        )
    self_index, num_compared = query_labels.new_full((len(query),), -1), len(reference)
    if ref_includes_query:
        _check_begins_with_queries(reference, reference_labels, query, query_labels)
        self_index, num_compared = torch.arange(len(query), device=query.device), num_compared - 1
    return RetrievalTask(query, query_labels, reference, reference_labels, self_index, num_compared)


def check_together(reference: Any, reference_labels: Any) -> None:
    """Raise unless references and their labels are both given, or neither."""
    if (reference is None) != (reference_labels is None):
        given = "reference_labels" if reference is None else "reference"
        raise ValueError(f"reference and reference_labels must come together, got {given} alone")


def checked_embeddings(
    name: str, values: Any, device: torch.device | None = None, min_rows: int = 1
) -> Tensor:
    """A tensor or array as a finite floating-point (N, D) tensor, N >= ``min_rows``, D >= 1."""
    tensor = _from_array(name, values)
    checks.embedding_matrix(name, tensor)
    if len(tensor) < min_rows or tensor.shape[1] == 0:
        raise ValueError(f"{name} must have at least one row and column, got {(*tensor.shape,)}")
    device = device or tensor.device
    # MPS has no float64, which all ranks need.
    return tensor.detach().to("cpu" if device.type == "mps" else device)


def _checked_labels(name: str, values: Any, embeddings: Tensor) -> Tensor:
    labels = checks.integer_labels(name, _from_array(name, values), len(embeddings))
    return labels.to(embeddings.device).contiguous()


def checked_compared_labels(name: str, values: Any, embeddings: Tensor) -> Tensor:
    """Labels (N,) or (N, …) that a user's function compares, after PML has made them float32.

    Large numbers of which float32 would make other ones are refused.
    """
    labels = _from_array(name, values)
    checks.instance(name, labels, Tensor)
    checks.with_values(name, labels)
    if labels.ndim == 0 or len(labels) != len(embeddings):
        raise ValueError(
            f"{name} must have {len(embeddings)} rows, one per embedding, "
            f"got the shape {tuple(labels.shape)}"
        )
    if labels.is_complex() or bool(labels.isnan().any()):
        raise ValueError(f"{name} must be real numbers, got {labels.dtype} with complex or NaN")
    is_changed = labels.float().to(labels.dtype) != labels
    if bool((is_changed & (labels.double().abs() > FLOAT32_INTEGERS)).any()):
        raise ValueError(
            f"{name} must be within ±2**24 where a label_comparison_fn is given, since PML makes "
            f"them float32, got {labels[is_changed][0].item()}: give smaller numbers, or several "
            "columns"
        )
    return labels


def _from_array(name: str, values: Any) -> Any:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} must be an array without a mask, got a masked array")
    if not isinstance(values, np.ndarray):
        return values  # a tensor, or a value that the checks refuse by name
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got an array of {values.dtype}") from None


def _check_begins_with_queries(
    reference: Tensor, reference_labels: Tensor, query: Tensor, query_labels: Tensor
) -> None:
    first = reference[: len(query)]
    if not (
        first.shape == query.shape
        and torch.equal(reference_labels[: len(query)], query_labels)
        and (first.data_ptr() == query.data_ptr() or torch.allclose(first, query.to(first)))
    ):
        raise ValueError(
            "reference must begin with the rows of query, and reference_labels with "
            "query_labels, when ref_includes_query is True; got others"
        )
