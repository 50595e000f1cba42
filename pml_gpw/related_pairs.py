"""Batches whose pairs a relation of labels makes, in place of their equality.

Shapes: N anchors, M references.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from . import checks
from .engine import PairBatch, RelationPairs
from .engine.pairs import Pairs
from .engine.weighted_pairs import WeightedPairs
from .relations import WeightedRelations


def related_batch(
    anchors: Tensor,
    references: Tensor,
    labels: Tensor | None,
    reference_labels: Tensor | None,
    pairs: Any,
    self_index: Tensor | None,
    key: Tensor | None,
    name: str = "ref_labels",
) -> PairBatch:
    """The batch of checked embeddings with the pairs of a relation, of several, or of matrices.

    Labels that are numbers of classes stay known: a reducer, or values a class, may ask for them.
    ``name``: of the labels of the references, in errors.
    Errors: ValueError for what is none of these, and for labels that do not fit.

    >>> import torch
    >>> from pml_gpw.relations import SameLevel
    >>> x, taxa = torch.rand(3, 2), torch.tensor([[0], [0], [1]])
    >>> related_batch(x, x, taxa, None, SameLevel(0), torch.arange(3), None).pairs.shape
    (3, 3)
    """
    if reference_labels is None and labels is not None and len(references) == len(anchors):
        reference_labels = labels
    given = anchors, references, labels, reference_labels
    related: Pairs
    if isinstance(pairs, WeightedRelations):
        each = ((_relation_pairs(*given, one, name), weight) for one, weight in pairs.relations)
        parts = ((replace(part, self_index=self_index), weight) for part, weight in each)
        related = WeightedPairs(tuple(parts))
    else:
        related = replace(_relation_pairs(*given, pairs, name), self_index=self_index)
    known = _classes(labels, anchors), _classes(reference_labels, references)
    return PairBatch(anchors, references, related, *known, key)


def _relation_pairs(
    anchors: Tensor,
    references: Tensor,
    labels: Tensor | None,
    reference_labels: Tensor | None,
    pairs: Any,
    name: str,
) -> RelationPairs:
    shape = len(anchors), len(references)
    if isinstance(pairs, type):
        raise ValueError(
            f"pairs must be matrices of booleans or a function, got the class {pairs.__name__}"
        )
    if callable(pairs):
        labels = relation_labels("labels", labels, len(anchors), anchors.device)
        others = relation_labels(name, reference_labels, len(references), anchors.device)
        return RelationPairs(labels, others, pairs)
    if labels is not None or reference_labels is not None:
        raise ValueError("labels must be None beside pairs that are matrices")
    matrices = tuple(pairs) if isinstance(pairs, (tuple, list)) else (pairs,)
    if len(matrices) not in (1, 2):
        raise ValueError(f"pairs must be one or two matrices, got {len(matrices)}")
    check = checks.relation_matrix if len(matrices) == 1 else checks.boolean_matrix
    for matrix in matrices:
        check("pairs", matrix, shape)
    matrices = tuple(checks.moved("pairs", matrix, anchors.device) for matrix in matrices)
    columns = references[:, :0]  # the relation is told the rows of the matrices alone
    if len(matrices) == 1:
        return RelationPairs(matrices[0], columns, _by_rows)
    if not torch.compiler.is_compiling() and (matrices[0] & matrices[1]).any():
        raise ValueError("pairs must not call a pair both positive and negative")
    both = torch.stack(matrices, dim=1)
    return RelationPairs(both, columns, _first_of_rows, _second_of_rows)


def _first_of_rows(rows: Tensor, _: Tensor) -> Tensor:
    return rows[:, 0]


def _second_of_rows(rows: Tensor, _: Tensor) -> Tensor:
    return rows[:, 1]


def relation_labels(name: str, labels: Tensor | None, length: int, device: torch.device) -> Tensor:
    """The labels (length, …) of a relation on a device, or a ValueError."""
    if isinstance(labels, Tensor):
        checks.dense(name, labels)
    if not isinstance(labels, Tensor) or labels.ndim == 0 or len(labels) != length:
        got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"{name} must be a tensor of {length} rows for a relation, got {got}")
    return checks.moved(name, labels, device)


def _by_rows(labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The relation of labels that are the rows (C, M) of a matrix already."""
    return labels


def _classes(labels: Tensor | None, embeddings: Tensor) -> Tensor | None:
    """Labels of a relation that are numbers of classes, which a reducer may ask for."""
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        return None
    return labels.to(embeddings.device).long()


def refuse_values(pairs: Pairs) -> None:
    """Raise a ValueError for graded or weighted pairs, whose values an index tuple cannot hold."""
    related = isinstance(pairs, RelationPairs)
    if isinstance(pairs, WeightedPairs) or (
        related and isinstance(pairs.graded_masks(slice(0, 1))[2], Tensor)
    ):
        raise ValueError(
            "pairs must be yes or no beside an index tuple, which a miner or a compute_loss of "
            "one's own makes of them, got graded ones or several relations: let the loss mine"
        )
