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

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
AnchorsAndOthers = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class IndexPairs(Pairs):
    """Positives and negatives by index; pairs that are named twice count once.

    Args:
        pos: anchors (K,) and the positives (K,) they are paired with, int64.
        neg: anchors (K,) and negatives (K,), int64.
        size: (N, M).
        self_index: (N,) int64, where it is known: the column of each anchor itself among the
            references, −1 where it is not there.

    >>> import torch
    >>> pairs = IndexPairs.of((torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), (3, 3))
    >>> pairs.masks(slice(0, 1))
    (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """

    pos: AnchorsAndOthers
    neg: AnchorsAndOthers
    size: tuple[int, int]
    self_index: Tensor | None = None
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
        pairs = cls(*checked_tuple(indices_tuple, shape, device), shape, self_index)
        if not torch.compiler.is_compiling():
            pairs._refuse_pairs_of_both_kinds()
        return pairs

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return self.size

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():  # places would be looked for by their values
            pos, neg = (self._whole_mask(*pairs)[anchors] for pairs in (self.pos, self.neg))
        else:
            pos, neg = (self._mask(places, anchors) for places in self.places)
        return pos, neg

    @override
    def part(self, anchors: slice) -> "IndexPairs":
        pos, neg = (_pairs_of(anchors, *pairs) for pairs in (self.pos, self.neg))
        self_index = None if self.self_index is None else self.self_index[anchors]
        return IndexPairs(pos, neg, (anchors.stop - anchors.start, self.size[1]), self_index)

    @override
    def index_tuple(self) -> IndexTuple:
        return *self.pos, *self.neg

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """The places (K,) of positives and of negatives in the matrix, row by row, each once."""
        pos, neg = (
            _rising_once(anchor * self.size[1] + other) for anchor, other in (self.pos, self.neg)
        )
        return pos, neg

    def _refuse_pairs_of_both_kinds(self) -> None:
        pos, neg = self.places
        if len(neg) == 0:
            return
        nearest = torch.searchsorted(neg, pos).clamp(max=len(neg) - 1)
        if (neg[nearest] == pos).any():
            raise ValueError("indices_tuple must not name a pair as both positive and negative")

    def _mask(self, places: Tensor, anchors: slice) -> Tensor:
        columns = self.size[1]
        bounds = torch.tensor(
            [anchors.start * columns, anchors.stop * columns], device=places.device
        )
        begin, end = torch.searchsorted(places, bounds).tolist()
        mask = torch.zeros(
            anchors.stop - anchors.start, columns, dtype=torch.bool, device=places.device
        )
        mask.view(-1)[places[begin:end] - anchors.start * columns] = True
        return mask

    def _whole_mask(self, anchor: Tensor, other: Tensor) -> Tensor:
        mask = torch.zeros(self.size, dtype=torch.bool, device=anchor.device)
        return mask.index_put((anchor, other), torch.tensor(True, device=anchor.device))


def without_self_pairs(self_index: Tensor, indices_tuple: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """An index tuple of pairs or triplets without the positives of an anchor and itself.

    ``self_index``: (N,) the column of each anchor itself, −1 where it is not there.
    """
    anchor, positive, *rest = indices_tuple
    other = self_index[anchor] != positive
    if len(rest) == 1:  # triplets
        return anchor[other], positive[other], rest[0][other]
    return anchor[other], positive[other], *rest


def checked_tuple(
    indices_tuple: Sequence[Tensor], shape: tuple[int, int], device: torch.device | None = None
) -> tuple[AnchorsAndOthers, AnchorsAndOthers]:
    """The positive and negative pairs of a tuple, checked but for pairs that are both.

    Errors: ValueError as :meth:`IndexPairs.of`.
    """
    if not isinstance(indices_tuple, (Sequence, Tensor)) or isinstance(indices_tuple, str):
        got = type(indices_tuple).__name__
        raise ValueError(f"indices_tuple must be a sequence of index tensors, got {got}")
    if len(indices_tuple) not in (3, 4):
        raise ValueError(
            "indices_tuple must be (a1, p, a2, n) pairs or (a, p, n) triplets, "
            f"got {len(indices_tuple)} tensors"
        )
    pos_anchor, positive = indices_tuple[0], indices_tuple[1]
    triplets = len(indices_tuple) == 3
    neg_anchor, negative = indices_tuple[0 if triplets else 2], indices_tuple[2 if triplets else 3]
    return (
        _checked("positive", pos_anchor, positive, shape, device),
        _checked("negative", neg_anchor, negative, shape, device),
    )


def _checked(
    kind: str,
    anchor: Tensor,
    other: Tensor,
    shape: tuple[int, int],
    device: torch.device | None,
) -> AnchorsAndOthers:
    for index in (anchor, other):
        if not isinstance(index, Tensor) or index.dtype not in INTEGERS:
            what = index.dtype if isinstance(index, Tensor) else type(index).__name__
            raise ValueError(f"indices_tuple must hold tensors of integers, got {what}")
        checks.dense("each of indices_tuple", index)
        if index.ndim != 1:
            raise ValueError(
                f"indices_tuple must hold tensors of one dimension, got {tuple(index.shape)}"
            )
    anchor, other = anchor.to(device).long(), other.to(device).long()
    if anchor.shape != other.shape:
        raise ValueError(
            f"indices_tuple must pair each anchor with one {kind}, "
            f"got {anchor.numel()} anchors and {other.numel()} {kind}s"
        )
    if not torch.compiler.is_compiling():
        for name, index, limit in (("anchor", anchor, shape[0]), (kind, other, shape[1])):
            if index.numel() == 0:
                continue
            least, most = (int(end) for end in index.aminmax())
            if not 0 <= least <= most < limit:
                raise ValueError(
                    f"indices_tuple must hold {name} indices in [0, {limit}), got {least} to {most}"
                )
    return anchor, other


def _pairs_of(anchors: slice, anchor: Tensor, other: Tensor) -> AnchorsAndOthers:
    """Those of the pairs (K,) whose anchor is one of ``anchors``, numbered from the first."""
    inside = (anchor >= anchors.start) & (anchor < anchors.stop)
    return anchor[inside] - anchors.start, other[inside]


def _rising_once(places: Tensor) -> Tensor:
    """The places sorted and without repetition; a miner's usually are already."""
    return places if bool((places[1:] > places[:-1]).all()) else places.unique()
