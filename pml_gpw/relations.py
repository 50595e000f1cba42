"""Relations of labels: which pairs are positives, and how relevant they are.

Each is a function from the labels (C, …) of some anchors and those (M, …) of the references to a
matrix (C, M), for ``pairs=`` of :mod:`pml_gpw.functional`. Booleans say which pairs are positives,
numbers how relevant each is: > 0 is a positive, 0 a negative, NaN no pair.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import checks
from .engine import share_a_label
from .engine.relation_pairs import Relation
from .precision import full_precision

__all__ = ["ByClass", "ByDistance", "SameLevel", "WeightedRelations", "jaccard", "share_a_label"]


def jaccard(labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The number of labels that two items share, divided by the number that either has.

    `|A ∩ B| / |A ∪ B|`, and 0 where both have none.

    Shapes: ``labels`` (C, L) and ``reference_labels`` (M, L), multi-hot, 0 or 1; returns (C, M).
    Errors: ValueError for other shapes and values.

    >>> import torch
    >>> jaccard(torch.tensor([[1, 0, 1]]), torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 1]]))
    tensor([[0.0000, 0.5000, 1.0000]])
    """
    checks.multi_hot("labels", labels)
    checks.multi_hot("reference_labels", reference_labels)
    a, b = labels.float(), reference_labels.float()
    with full_precision(a):
        common = a @ b.T
    either = a.sum(dim=1, keepdim=True) + b.sum(dim=1) - common
    return common / either.clamp(min=1)


@dataclass(frozen=True)
class ByDistance:
    """A relation of places: a function of the Euclidean distance between two, such as metres.

    Args:
        relevance: a function from distances (C, M) to booleans, or to the relevance of each pair:
            in place recognition "within 25 m", or a grade that falls with the distance.

    Labels are coordinates, (C, d) and (M, d).

    >>> import torch
    >>> places = torch.tensor([[0.0, 0.0], [0.0, 10.0], [0.0, 50.0]])
    >>> ByDistance(lambda metres: (1 - metres / 25).clamp(min=0))(places[:1], places)
    tensor([[1.0000, 0.6000, 0.0000]])
    """

    relevance: Callable[[Tensor], Tensor]

    def __call__(self, labels: Tensor, reference_labels: Tensor) -> Tensor:
        """The matrix (C, M) of the function's values."""
        exact = "donot_use_mm_for_euclid_dist"  # the product would round where places are near
        kind = torch.promote_types(labels.dtype, torch.float32)
        if not labels.is_floating_point():
            kind = torch.float64  # float32 would round large ones
        a, b = labels.to(kind), reference_labels.to(kind)
        return self.relevance(torch.cdist(a, b, compute_mode=exact))


@dataclass(frozen=True, eq=False)
class ByClass:
    """A relation of classes whose similarity is known: a matrix of classes.

    Args:
        similarity: (K, K), the relevance of a reference of each class for an anchor of each class.

    Labels are numbers of classes, (C,) and (M,).
    Errors: ValueError for a matrix that is not square, and for labels out of its range.

    >>> import torch
    >>> relation = ByClass(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    >>> relation(torch.tensor([0]), torch.tensor([0, 1, 1]))
    tensor([[1.0000, 0.5000, 0.5000]])
    """

    similarity: Tensor

    def __post_init__(self) -> None:
        size = len(self.similarity) if isinstance(self.similarity, Tensor) else 0
        checks.relation_matrix("similarity", self.similarity, (size, size))

    def __call__(self, labels: Tensor, reference_labels: Tensor) -> Tensor:
        """The matrix (C, M) of the similarities of the classes."""
        for name, classes in (("labels", labels), ("reference_labels", reference_labels)):
            if classes.is_floating_point():
                raise ValueError(f"{name} must be integers, got {classes.dtype}")
            if classes.numel() and not torch.compiler.is_compiling():
                checks.refuse_unless_in_range(name, classes, 0, len(self.similarity))
        rows = self.similarity.to(labels.device)[labels.long()]
        return rows[:, reference_labels.long()]


@dataclass(frozen=True)
class SameLevel:
    """The relation of items that agree at a level of a hierarchy, such as species, genus, family.

    Labels are (C, levels) and (M, levels), integers. Errors: ValueError for a level below 0.

    >>> import torch
    >>> taxa = torch.tensor([[0, 0], [1, 0], [2, 1]])
    >>> SameLevel(1)(taxa[:1], taxa)
    tensor([[ True,  True, False]])
    """

    level: int

    def __post_init__(self) -> None:
        checks.non_negative_integer("level", self.level)

    def __call__(self, labels: Tensor, reference_labels: Tensor) -> Tensor:
        """The matrix (C, M) of whether two items agree."""
        return labels[:, self.level].unsqueeze(1) == reference_labels[:, self.level]


LINEAR = ("mean", "sum", "none")
"""Reductions of a sum that are the sums of the reductions."""


@dataclass(frozen=True)
class WeightedRelations:
    """Relations and their weights, as ``pairs=`` of a function: species, genus and family at once.

    The loss is the weighted sum of the losses with each relation alone, and so is its gradient.
    Similarities are computed once.

    Args:
        relations: pairs (relation, weight), each relation a function of labels, each weight > 0.

    Errors: ValueError for none, for what is no function, and for weights that are not > 0.

    >>> hierarchy = WeightedRelations(((SameLevel(0), 1.0), (SameLevel(1), 0.5)))
    >>> len(hierarchy.relations)
    2
    """

    relations: Sequence[tuple[Relation, float]]

    def __post_init__(self) -> None:
        if not self.relations:
            raise ValueError("relations must be at least one pair (relation, weight), got none")
        for relation, weight in self.relations:
            if not callable(relation):
                raise ValueError(f"relations must be functions of labels, got {relation!r}")
            checks.positive("weight of a relation", weight)
