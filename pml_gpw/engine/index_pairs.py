"""Pairs by index: those that a tuple lists.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .pairs import IndexTuple, Pairs

#: Pairs up to which masks of all of them are made at once.
SMALL = 2**15


@dataclass(frozen=True, eq=False)
class IndexPairs(Pairs):
    """Positives and negatives by index; pairs that are named twice count once.

    Args:
        pos: the places (K,) of the positives in the matrix of all pairs, anchor · M + reference, in
            any order.
        neg: those of the negatives.
        size: (N, M).
        self_index: (N,) int64, where it is known: the column of each anchor itself among the
            references, −1 where it is not there.
        all_masks: the masks (N, M) of both, where they are made already.

    >>> import torch
    >>> pairs = IndexPairs.of((torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), (3, 3))
    >>> pairs.masks(slice(0, 1))
    (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """

    pos: Tensor
    neg: Tensor
    size: tuple[int, int]
    self_index: Tensor | None = None
    all_masks: tuple[Tensor, Tensor] | None = None
    where_none: ClassVar[str] = "the indices_tuple names none"

    @classmethod
    def of(
        cls,
        indices_tuple: Sequence[Tensor],
        shape: tuple[int, int],
        device: torch.device | None = None,
        self_index: Tensor | None = None,
    ) -> "IndexPairs":
        """The pairs of a (a1, p, a2, n) tuple of pairs or a (a, p, n) tuple of triplets.

        ``shape``: (N, M). Errors: ValueError for another number of tensors, lengths that differ,
        indices out of range and a pair that is both positive and negative.
        """
        both = checked_tuple(indices_tuple, shape, device)
        pos, neg = (anchor * shape[1] + other for anchor, other in both)
        pairs = cls(pos, neg, shape, self_index)
        if torch.compiler.is_compiling():
            return pairs
        if shape[0] * shape[1] <= SMALL:
            pairs = cls(pos, neg, shape, self_index, pairs.masks(slice(0, shape[0])))
        if pairs._names_a_pair_twice():
            raise ValueError("indices_tuple must not name a pair as both positive and negative")
        return pairs

    def _names_a_pair_twice(self) -> bool:
        """True where a pair is both a positive and a negative."""
        if self.all_masks is not None:
            return bool((self.all_masks[0] & self.all_masks[1]).any())
        pos, neg = self.rising
        nearest = torch.searchsorted(neg, pos).clamp(max=len(neg) - 1)
        return len(neg) > 0 and bool((neg[nearest] == pos).any())

    @cached_property
    def rising(self) -> tuple[Tensor, Tensor]:
        """The places of positives and of negatives, (K,) each, row by row and each once."""
        pos, neg = (
            places if bool((places[1:] > places[:-1]).all()) else places.unique()
            for places in (self.pos, self.neg)
        )
        return pos, neg

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.size

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        if anchors != slice(0, self.size[0]):
            return self.part(anchors).masks(slice(0, anchors.stop - anchors.start))
        if self.all_masks is not None:
            return self.all_masks
        nothing = self.pos.new_zeros(self.size[0] * self.size[1], dtype=torch.bool)
        pos, neg = (nothing.index_fill(0, p, True).view(self.size) for p in (self.pos, self.neg))
        return pos, neg

    @override
    def part(self, anchors: slice) -> "IndexPairs":
        shape = anchors.stop - anchors.start, self.size[1]
        ends = self.pos.new_tensor([anchors.start, anchors.stop]) * shape[1]
        bounds = (slice(*torch.searchsorted(places, ends).tolist()) for places in self.rising)
        pos, neg = (places[b] - ends[0] for places, b in zip(self.rising, bounds, strict=True))
        return IndexPairs(pos, neg, shape, self.self_index_of(anchors))

    @override
    def index_tuple(self) -> IndexTuple:
        columns = max(1, self.size[1])
        sides = (self.pos, self.neg) if torch.compiler.is_compiling() else self.rising
        pos, neg = ((places // columns, places % columns) for places in sides)
        return *pos, *neg


def without_own_positives(
    self_index: Tensor, indices_tuple: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """An index tuple of pairs or triplets without the positives of an anchor and itself.

    ``self_index``: (N,) the column of each anchor itself, −1 where it is not there.
    """
    anchor, positive, *negatives = indices_tuple
    other = self_index[anchor] != positive
    negatives = [negatives[0][other]] if len(negatives) == 1 else negatives  # of triplets
    return anchor[other], positive[other], *negatives


def checked_tuple(
    indices_tuple: Sequence[Tensor], shape: tuple[int, int], device: torch.device | None = None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The positive and negative pairs of a tuple, (K,) each, checked but for pairs that are both.

    Errors: ValueError as :meth:`IndexPairs.of`.
    """
    if not isinstance(indices_tuple, (Sequence, Tensor)) or isinstance(indices_tuple, str):
        got = checks.described(indices_tuple)
        raise ValueError(f"indices_tuple must be a sequence of index tensors, got {got}")
    if len(indices_tuple) not in (3, 4):
        raise ValueError(
            "indices_tuple must be (a1, p, a2, n) pairs or (a, p, n) triplets, "
            f"got {len(indices_tuple)} tensors"
        )
    for index in indices_tuple:
        checks.indices("each of indices_tuple", index)
    pos_anchor, positive, *rest = indices_tuple
    neg_anchor, negative = (pos_anchor, *rest)[-2:]
    sides = (("positive", pos_anchor, positive), ("negative", neg_anchor, negative))
    for kind, anchor, other in sides:
        if anchor.shape != other.shape:
            got = f"{anchor.numel()} anchors and {other.numel()} {kind}s"
            raise ValueError(f"indices_tuple must pair each anchor with one {kind}, got {got}")
        for name, index, limit in (("anchor", anchor, shape[0]), (kind, other, shape[1])):
            if not torch.compiler.is_compiling() and index.numel():
                least, most = (int(end) for end in index.aminmax())
                if not 0 <= least <= most < limit:
                    allowed = f"must hold {name} indices in [0, {limit})"
                    raise ValueError(f"indices_tuple {allowed}, got {least} to {most}")
    pos, neg = ((a.to(device).long(), o.to(device).long()) for _, a, o in sides)
    return pos, neg
