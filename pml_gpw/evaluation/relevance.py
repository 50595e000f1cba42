"""The relevance of references to a query, in grades, and those that are left out of its ranks.

Shapes: N queries, C queries of a block, M references.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import checks

Rule = Callable[[Tensor], Tensor]  # indices (C,) of queries -> booleans or grades (C, M)


def checked_rule(name: str, given: Any, labels: tuple[Tensor, Tensor]) -> Rule:
    """The rule of lists, a relation or a matrix, or a ValueError that names the argument.

    A relation is told the ``labels`` of a block of queries, of (N, …), and those of all
    references (M, …).
    """
    query_labels, reference_labels = labels
    shape = len(query_labels), len(reference_labels)
    if isinstance(given, np.ndarray):  # an array of lists, or a matrix
        given = [*given] if given.dtype == object else torch.from_numpy(given)
    if isinstance(given, (list, tuple)):
        return _rule_of_lists(name, given, shape, query_labels.device)
    if isinstance(given, Tensor):
        matrix = _checked_matrix(name, given, shape, "be")
        return lambda rows: matrix[rows.to(matrix.device)].to(rows.device)
    if isinstance(given, type) or not callable(given):
        raise ValueError(
            f"{name} must be a list of references for each query, a relation or a matrix, "
            f"got {given!r}"
        )

    def related(rows: Tensor) -> Tensor:
        matrix = given(query_labels[rows], reference_labels)
        return _checked_matrix(name, matrix, (len(rows), shape[1]), "return").to(rows.device)

    return related


def _checked_matrix(name: str, matrix: Any, shape: tuple[int, int], verb: str) -> Tensor:
    if isinstance(matrix, Tensor):
        checks.with_values(name, matrix)
        matrix = matrix.double() if matrix.dtype in checks.INTEGERS else matrix
    check = checks.boolean_matrix if name == "ignore" else checks.relation_matrix
    check(name, matrix, shape, verb)
    if bool(matrix.isinf().any()):
        raise ValueError(f"{name} must {verb} finite grades, got inf")
    return matrix


def _rule_of_lists(
    name: str, lists: Sequence[Any], shape: tuple[int, int], device: torch.device
) -> Rule:
    if len(lists) != shape[0]:
        raise ValueError(f"{name} must be {shape[0]} lists, one a query, got {len(lists)}")
    columns = []
    for query, found in enumerate(lists):
        of_one = found.tolist() if hasattr(found, "tolist") else found
        indices = np.asarray([*of_one] if isinstance(of_one, Iterable) else None)
        is_right = indices.dtype.kind in "iu" and ((indices >= 0) & (indices < shape[1])).all()
        if indices.size and not (is_right and indices.ndim == 1):
            raise ValueError(
                f"{name} must be lists of indices of references in [0, {shape[1]}), "
                f"got {found!r} for query {query}"
            )
        columns.append(torch.from_numpy(indices.astype(np.int64)).to(device))

    def listed(rows: Tensor) -> Tensor:
        chosen = [columns[query] for query in rows.tolist()]
        sizes = torch.tensor([len(each) for each in chosen], device=device)
        places = torch.arange(len(rows), device=device).repeat_interleave(sizes)
        matrix = torch.zeros(len(rows), shape[1], dtype=torch.bool, device=device)
        matrix[places, torch.cat(chosen)] = True
        return matrix

    return listed


def count_same_label(query_labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The number of references (M,) that have the label of each query (N,)."""
    labels = reference_labels.sort().values
    end = torch.searchsorted(labels, query_labels, right=True)
    return end - torch.searchsorted(labels, query_labels)
