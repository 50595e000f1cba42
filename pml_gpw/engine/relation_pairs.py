"""Pairs by any relation: a function from some anchors to masks.

Shapes: N anchors, M references, C rows of a chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from .. import checks
from .pairs import Pairs, without_self_pairs

#: From the labels (C, …) of some anchors and those of all references (M, …) to positives (C, M),
#: or to the relevance (C, M) of each pair.
Relation = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class RelationPairs(Pairs):
    """Pairs as a relation of labels says, or as matrices say; looked at in chunks of anchors.

    Args:
        labels: (N, …), what the relation is told of the anchors.
        reference_labels: (M, …), what it is told of the references.
        positive: the relation; :func:`share_a_label` is one. What it does not call positive is
            negative, unless ``negative`` is given. Numbers in place of booleans are the relevance
            of the pairs: > 0 is a positive, 0 a negative, NaN no pair.
        negative: a relation for negatives. Pairs that are neither do not count.
        self_index: (N,) int64, the column of each anchor itself among the references, −1 where it
            is not there; that pair is neither.

    >>> import torch
    >>> tags = torch.tensor([[1, 0], [1, 1], [0, 1]])
    >>> RelationPairs(tags, tags, share_a_label, self_index=torch.arange(3)).masks(slice(0, 1))
    (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """

    labels: Tensor
    reference_labels: Tensor
    positive: Relation
    negative: Relation | None = None
    self_index: Tensor | None = None
    where_none: ClassVar[str] = "the relation gives none"

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return len(self.labels), len(self.reference_labels)

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        return self.graded_masks(anchors)[:2]

    @override
    def graded_masks(self, anchors: slice) -> tuple[Tensor, Tensor, Tensor | float]:
        pos = self._related(self.positive, anchors)
        relevance: Tensor | float = 1.0
        if pos.is_floating_point():
            relevance = pos.nan_to_num(0.0)
            pos, neg = pos > 0, pos == 0
        else:
            neg = ~pos if self.negative is None else self._related(self.negative, anchors)
        return *without_self_pairs(pos, neg, self.self_index_of(anchors)), relevance

    @override
    def part(self, anchors: slice) -> "RelationPairs":
        return replace(self, labels=self.labels[anchors], self_index=self.self_index_of(anchors))

    def _related(self, relation: Relation, anchors: slice) -> Tensor:
        matrix = relation(self.labels[anchors], self.reference_labels)
        shape = len(self.labels[anchors]), self.shape[1]
        checks.relation_matrix("pairs", matrix, shape, "return")
        return matrix


def share_a_label(labels: Tensor, reference_labels: Tensor) -> Tensor:
    """The relation of items that have a label in common, for multi-label data.

    Shapes: ``labels`` (C, L) and ``reference_labels`` (M, L), multi-hot, 0 or 1; returns (C, M)
    bool. Errors: ValueError for other shapes and values, such as numbers of classes.

    >>> import torch
    >>> share_a_label(torch.tensor([[1, 0, 1]]), torch.tensor([[0, 1, 0], [0, 0, 1]]))
    tensor([[False,  True]])
    """
    checks.multi_hot("labels", labels)
    checks.multi_hot("reference_labels", reference_labels)
    return (labels.float() @ reference_labels.float().T) > 0
