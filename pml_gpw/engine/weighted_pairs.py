"""Several relations of the same items at once, each with a weight: a hierarchy of labels.

Shapes: N anchors, M references, C rows of a chunk.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .pairs import Pairs
from .relation_pairs import RelationPairs


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
        found = zip(*(pairs.masks(anchors) for pairs, _ in self.parts), strict=True)
        pos, neg = (torch.stack(masks).any(dim=0) for masks in found)
        return pos, neg & ~pos

    @override
    def part(self, anchors: slice) -> "WeightedPairs":
        parts = tuple((pairs.part(anchors), weight) for pairs, weight in self.parts)
        return replace(self, parts=parts)
