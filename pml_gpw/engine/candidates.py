"""The pairs that may be weighed, before mining: all that labels give, or those of a list.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..mining import MSMining
from ..pairs import BOTH_KINDS, label_masks
from ..weightings.rows import DenseRows, KeptRows, Rows, rows_of


@dataclass(frozen=True)
class Labelled:
    """Pairs of equal labels are positives, all others negatives.

    ``own``: the column of each anchor's own copy among the references, −1 where there is none;
    their pair is neither.
    """

    labels: Tensor  # (N,)
    ref_labels: Tensor  # (M,)
    own: Tensor | None = None  # (N,)

    def masks(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Positives and negatives (C, M) of the anchors from ``start`` to ``stop``."""
        own = None if self.own is None else self.own[start:stop]
        return label_masks(self.labels[start:stop], self.ref_labels, own)

    def rows(self, sim: Tensor, start: int, mining: MSMining | None) -> tuple[Rows, Rows]:
        """The pairs of the anchors from ``start`` on; overwrites ``sim`` (C, M).

        Negatives that ``mining`` cannot keep are left out already.
        """
        same_row, same_column = self.equal_labels(start, start + len(sim))
        row, column = same_row, same_column
        if self.own is not None:
            other = column != self.own[start : start + len(sim)][row]
            row, column = row[other], column[other]
        pos = KeptRows(sim[row, column], row, column, (sim.shape[0], sim.shape[1]))
        sim[same_row, same_column] = -torch.inf  # what is left are the negatives
        if mining is None:
            return pos, DenseRows(sim, sim > -torch.inf)
        return pos, rows_of(sim, sim > first_cut(-pos.max(-pos.sim), mining).unsqueeze(1))

    @cached_property
    def _by_label(self) -> tuple[Tensor, Tensor, Tensor]:
        """References by label (M,); where those of each anchor begin (N,), and how many (N,)."""
        ordered, order = self.ref_labels.sort(stable=True)
        first = torch.searchsorted(ordered, self.labels)
        return order, first, torch.searchsorted(ordered, self.labels, right=True) - first

    @property
    def within_batch(self) -> bool:
        """Whether anchors and references are the same: the relation of a pair is symmetric."""
        if self.own is None or not torch.equal(self.labels, self.ref_labels):
            return False
        return torch.equal(self.own, torch.arange(len(self.labels), device=self.own.device))

    @property
    def num_equal_labels(self) -> int:
        """How many pairs have equal labels, an anchor with its own copy included."""
        return int(self._by_label[2].sum())

    def equal_labels(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows (K,), from 0, and columns (K,) of the equal labels of anchors start to stop.

        Row by row, with the anchors' own copies.
        """
        order, first, count = self._by_label
        count = count[start:stop]
        row = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        place = torch.arange(len(row), device=row.device) + (first[start:stop] - before)[row]
        return row, order[place]


@dataclass(frozen=True)
class Listed:
    """Positives and negatives by index; pairs that are named twice count once.

    ``pos``, ``neg``: anchors (K,) and references (K,); ``shape``: (N, M).
    """

    pos: tuple[Tensor, Tensor]
    neg: tuple[Tensor, Tensor]
    shape: tuple[int, int]

    def masks(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Positives and negatives (C, M) of the anchors from ``start`` to ``stop``."""
        pos, neg = (self._mask(places, start, stop) for places in self.places)
        return pos, neg

    def rows(self, sim: Tensor, start: int, mining: MSMining | None) -> tuple[Rows, Rows]:
        """The pairs of the anchors from ``start`` on, ``sim`` (C, M); ``mining`` has no say yet."""
        pos, neg = self.masks(start, start + len(sim))
        return rows_of(sim, pos), rows_of(sim, neg)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Places (K,) of the positives and of the negatives in the matrix, row by row, once."""
        pos, neg = (
            _ascending(anchor * self.shape[1] + other) for anchor, other in (self.pos, self.neg)
        )
        if len(neg):
            nearest = torch.searchsorted(neg, pos).clamp(max=len(neg) - 1)
            if (neg[nearest] == pos).any():
                raise ValueError(BOTH_KINDS)
        return pos, neg

    def _mask(self, places: Tensor, start: int, stop: int) -> Tensor:
        columns = self.shape[1]
        bounds = torch.tensor([start * columns, stop * columns], device=places.device)
        begin, end = torch.searchsorted(places, bounds).tolist()
        mask = torch.zeros(stop - start, columns, dtype=torch.bool, device=places.device)
        mask.view(-1)[places[begin:end] - start * columns] = True
        return mask


Candidates = Labelled | Listed


def first_cut(hardest_pos: Tensor, mining: MSMining) -> Tensor:
    """Below this similarity (N,) no negative is mined, with room for rounding.

    ``hardest_pos`` (N,): the anchor's smallest similarity to a positive, inf where it has none.
    """
    room = 1e-5 * (1 + mining.epsilon + hardest_pos.abs().nan_to_num(posinf=0.0))
    return hardest_pos - mining.epsilon - room


def mined(pos: Rows, neg: Rows, mining: MSMining) -> tuple[Rows, Rows]:
    """The rows that are left after mining."""
    hardest_pos, hardest_neg = -pos.max(-pos.sim), neg.max(neg.sim)
    keep_pos = mining.keeps_pos(pos.sim, pos.spread(hardest_neg))
    keep_neg = mining.keeps_neg(neg.sim, neg.spread(hardest_pos))
    return pos.select(keep_pos), neg.select(keep_neg)


def _ascending(places: Tensor) -> Tensor:
    """The places sorted and without repetition; a miner's usually are already."""
    return places if bool((places[1:] > places[:-1]).all()) else places.unique()
