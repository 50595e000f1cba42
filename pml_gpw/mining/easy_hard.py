"""One positive and one negative of each anchor: easy, hard or semi-hard."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self, override

from .. import checks
from ..weightings import Rows
from .base import PairMining

EASY, HARD, SEMIHARD, ALL = "easy", "hard", "semihard", "all"
STRATEGIES = (EASY, HARD, SEMIHARD, ALL)
Range = tuple[float, float] | None


@dataclass(frozen=True)
class EasyHardMining(PairMining):
    """Keep one positive and one negative of each anchor, or all of a kind.

    ``pos_strategy``: "easy" the positive of the largest similarity, "hard" of the smallest,
    "semihard" the hardest among those nearer than the chosen negative, "all" every one.
    ``neg_strategy``: "easy" the negative of the smallest similarity, "hard" of the largest,
    "semihard" the hardest among those farther than the chosen positive, "all" every one.
    ``allowed_pos_range`` and ``allowed_neg_range`` (smallest, largest) restrict what may be chosen.
    An anchor without a choice of either kind keeps nothing, unless one strategy is "all". Of equal
    similarities the lowest column is taken. Uses N, with "semihard" P, with a range S.

    The rule of ``BatchEasyHardMiner`` in pytorch-metric-learning; with a distance D the ranges are
    of distances.
    Errors: ValueError for other strategies, for "semihard" on both sides or beside "all", and for
    a range that is not two finite numbers in order.

    Reference: Xuan et al., Improved Embeddings with Easy Positive Triplet Mining, WACV 2020.

    >>> import torch
    >>> sim = torch.tensor([[0.6, 0.7, 0.5, 0.4]])
    >>> positives = torch.tensor([[True, False, False, False]])
    >>> EasyHardMining("easy", "semihard")(sim, positives, ~positives)[1]
    tensor([[False, False,  True, False]])
    """

    pos_strategy: str = EASY
    neg_strategy: str = SEMIHARD
    allowed_pos_range: Range = None
    allowed_neg_range: Range = None
    uses: ClassVar[frozenset[str]] = frozenset("SNP")

    def __post_init__(self) -> None:
        both = self.pos_strategy, self.neg_strategy
        for name, strategy in zip(("pos_strategy", "neg_strategy"), both, strict=True):
            if strategy not in STRATEGIES:
                raise ValueError(f"{name} must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        if both.count(SEMIHARD) == 2 or (SEMIHARD in both and ALL in both):
            raise ValueError(
                "pos_strategy and neg_strategy must not both be semihard, nor semihard beside all, "
                f"got {both[0]} and {both[1]}"
            )
        for name in ("allowed_pos_range", "allowed_neg_range"):
            checks.number_range(name, getattr(self, name))

    @override
    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        if self.pos_strategy == SEMIHARD:
            negative = _chosen(neg, self.neg_strategy == HARD, self.allowed_neg_range)
            nearer = pos.sim > pos.expand(negative.sim)
            positive = _chosen(pos, False, self.allowed_pos_range, nearer)
            return _where_both(pos, positive, neg, negative)
        every_pos, every_neg = self.pos_strategy == ALL, self.neg_strategy == ALL
        positive = _chosen(pos, self.pos_strategy == EASY, self.allowed_pos_range)
        farther = neg.sim < neg.expand(positive.sim) if self.neg_strategy == SEMIHARD else None
        negative = _chosen(neg, self.neg_strategy != EASY, self.allowed_neg_range, farther)
        if not (every_pos or every_neg):
            return _where_both(pos, positive, neg, negative)
        return (
            torch.ones_like(pos.sim, dtype=torch.bool) if every_pos else positive.mask,
            torch.ones_like(neg.sim, dtype=torch.bool) if every_neg else negative.mask,
        )

    @override
    def for_negated_distances(self) -> Self:
        return replace(
            self,
            allowed_pos_range=_negated(self.allowed_pos_range),
            allowed_neg_range=_negated(self.allowed_neg_range),
        )


class _Choice(NamedTuple):
    mask: Tensor  # pair values
    sim: Tensor  # (C,), ±inf where there is none
    found: Tensor  # (C,) bool


def _chosen(rows: Rows, largest: bool, allowed: Range, among: Tensor | None = None) -> _Choice:
    """The pair of the largest (or smallest) similarity of each row among those allowed."""
    sign = 1 if largest else -1
    may = rows.sim == rows.sim if among is None else among
    if allowed is not None:
        may = may & (rows.sim >= allowed[0]) & (rows.sim <= allowed[1])
    values = torch.where(may, sign * rows.sim, -torch.inf)
    best = rows.max(values)
    mask = rows.first(may & (values == rows.expand(best)))
    return _Choice(mask, sign * best, best > -torch.inf)


def _where_both(
    pos: Rows, positive: _Choice, neg: Rows, negative: _Choice
) -> tuple[Tensor, Tensor]:
    both = positive.found & negative.found
    return positive.mask & pos.expand(both), negative.mask & neg.expand(both)


def _negated(allowed: Range) -> Range:
    return None if allowed is None else (-allowed[1], -allowed[0])
