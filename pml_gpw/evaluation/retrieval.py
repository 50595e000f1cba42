"""One retrieval task, checked: which queries are compared with which references.

Shapes: N queries, M references, D dims.
"""

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checks


class Retrieval(NamedTuple):
    """Queries (N, D) and references (M, D) with int64 labels, all on one device.

    ``own`` (N,) is the index of the query's own row among the references, which is never
    compared with it; -1 where there is none. ``depth`` is how many references are compared.
    """

    query: Tensor
    query_labels: Tensor
    reference: Tensor
    reference_labels: Tensor
    own: Tensor
    depth: int

    def select(self, keep: Tensor) -> "Retrieval":
        """The same task for the queries that ``keep`` (N,) says."""
        if bool(keep.all()):
            return self
        return self._replace(
            query=self.query[keep], query_labels=self.query_labels[keep], own=self.own[keep]
        )


def checked_retrieval(
    query: Any,
    query_labels: Any,
    reference: Any = None,
    reference_labels: Any = None,
    ref_includes_query: bool = False,
    device: torch.device | None = None,
    least: int = 1,
) -> Retrieval:
    """The task, or a ValueError that names the argument at fault.

    Without a reference the queries are the references; then, and with ``ref_includes_query``,
    query i is reference i. Everything moves to ``device``, or to where ``query`` is. ``least``
    rows are required of each side, of shards none.
    """
    if (reference is None) != (reference_labels is None):
        given = "reference_labels" if reference is None else "reference"
        raise ValueError(f"reference and reference_labels must come together, got {given} alone")
    query = embeddings("query", query, device, least)
    query_labels = _labels("query_labels", query_labels, query)
    if reference is None:
        own = torch.arange(len(query), device=query.device)
        return Retrieval(query, query_labels, query, query_labels, own, len(query) - 1)

    reference = embeddings("reference", reference, query.device, least)
    reference_labels = _labels("reference_labels", reference_labels, reference)
    if reference.shape[1] != query.shape[1]:
        raise ValueError(
            f"reference must have the {query.shape[1]} dimensions of query, "
            f"got {reference.shape[1]}"
        )
    own, depth = query_labels.new_full((len(query),), -1), len(reference)
    if ref_includes_query:
        _begins_with(reference, reference_labels, query, query_labels)
        own, depth = torch.arange(len(query), device=query.device), depth - 1
    return Retrieval(query, query_labels, reference, reference_labels, own, depth)


def embeddings(
    name: str, values: Any, device: torch.device | None = None, least: int = 1
) -> Tensor:
    """A tensor or array as a finite floating-point (N, D) tensor, N >= ``least``, D >= 1."""
    tensor = _tensor(name, values)
    checks.embedding_matrix(name, tensor)
    if len(tensor) < least or tensor.shape[1] == 0:
        raise ValueError(f"{name} must have at least one row and column, got {(*tensor.shape,)}")
    device = device or tensor.device
    # MPS has no float64, which every result here rests on.
    return tensor.detach().to("cpu" if device.type == "mps" else device)


def checked_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The different K of ``ks`` as given, or a ValueError unless they are integers >= 1."""
    try:
        given = [*ks]
        values = [operator.index(k) for k in given if not isinstance(k, bool)]
    except TypeError:
        raise ValueError(f"ks must be integers >= 1, got {ks!r}") from None
    if not given or len(values) < len(given) or min(values) < 1:
        raise ValueError(f"ks must be at least one integer >= 1, got {given!r}")
    return tuple(dict.fromkeys(values))


def checked_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in [*choices]:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}")


def within_depth(ks: Iterable[int], depth: int) -> None:
    """Raise unless every K is at most the number of references a query is compared with."""
    too_large = [k for k in ks if k > depth]
    if too_large:
        raise ValueError(
            f"ks must be at most {depth}, the number of references a query is compared with, "
            f"got {too_large}"
        )


def _tensor(name: str, values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        return values  # a tensor, or something that the checks will name
    try:
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got an array of {values.dtype}") from None


def _labels(name: str, values: Any, of: Tensor) -> Tensor:
    labels = checks.integer_labels(name, _tensor(name, values), len(of))
    return labels.to(of.device).contiguous()


def _begins_with(
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
