"""Several relations of the same items at once, each with a weight: a hierarchy of labels.

Shapes: N anchors, M references, C rows of a chunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from .. import checks
from .pairs import Pairs
from .relation_pairs import Relation, RelationPairs


@dataclass(frozen=True)
class WeightedRelations:
    """Relations and their weights, as ``pairs=`` of a function: species, genus and family at once.

    The loss, and so its gradient, is the weighted sum of the losses with each relation alone.
    Inner products are formed once.

    Args:
        relations: pairs (relation, weight), each relation a function of labels, each weight > 0.

    Errors: ValueError for none, for what is no function, and for weights that are not > 0.

    >>> from pml_gpw.relations import same_level
    >>> hierarchy = WeightedRelations(((same_level(0), 1.0), (same_level(1), 0.5)))
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


@dataclass(frozen=True, eq=False)
class WeightedPairs(Pairs):
    """The pairs of each of several relations, with its weight."""

    parts: tuple[tuple[RelationPairs, float], ...]
    where_none: ClassVar[str] = "the relations give none"

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.parts[0][0].shape

    @property
    def self_index(self) -> Tensor | None:  # type: ignore[override]
        """That of all relations."""
        return self.parts[0][0].self_index

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        """The pairs that are positives of any relation, and all other pairs."""
        found = [pairs.masks(anchors) for pairs, _ in self.parts]
        pos, neg = found[0]
        for more_pos, more_neg in found[1:]:
            pos, neg = pos | more_pos, neg | more_neg
        return pos, neg & ~pos

    @override
    def part(self, anchors: slice) -> "WeightedPairs":
        parts = tuple((pairs.part(anchors), weight) for pairs, weight in self.parts)
        return replace(self, parts=parts)
