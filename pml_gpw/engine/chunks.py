"""The pairs of one chunk of anchors, found without a mask of labels.

Shapes: N anchors, M references, D dims, C rows of a chunk, K pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..mining import MSMining
from ..weightings.rows import DenseRows, KeptRows, Rows, rows_of


@dataclass(frozen=True)
class Candidates:
    """Which references are positives of which anchors, from labels sorted once.

    The positives of an anchor are ``order[first[i] : first[i] + count[i]]``; all others are its
    negatives. ``own``: reference i is anchor i, and their pair is neither.
    """

    order: Tensor  # (M,) references, by label
    first: Tensor  # (N,)
    count: Tensor  # (N,)
    own: bool

    @classmethod
    def of(cls, labels: Tensor, ref_labels: Tensor, own: bool) -> "Candidates":
        """From ``labels`` (N,) and ``ref_labels`` (M,)."""
        ordered, order = ref_labels.sort(stable=True)
        first = torch.searchsorted(ordered, labels)
        return cls(order, first, torch.searchsorted(ordered, labels, right=True) - first, own)

    def positives(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows (K,), from 0, and columns (K,) of the equal labels of anchors start to stop.

        With the anchors' own columns, where there are such.
        """
        count = self.count[start:stop]
        row = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        place = torch.arange(len(row), device=row.device) + (self.first[start:stop] - before)[row]
        return row, self.order[place]


def chunk_rows(
    sim: Tensor, candidates: Candidates, start: int, mining: MSMining | None
) -> tuple[Rows, Rows]:
    """Positive and negative rows of the anchors from ``start`` on; overwrites ``sim`` (C, M)."""
    same_row, same_column = candidates.positives(start, start + len(sim))
    row, column = same_row, same_column
    if candidates.own:
        other = column != row + start
        row, column = row[other], column[other]
    shape = (sim.shape[0], sim.shape[1])
    pos = KeptRows(sim[row, column], row, column, shape)
    sim[same_row, same_column] = -torch.inf  # what is left are the negatives
    if mining is None:
        return pos, _rows_above(sim, None)
    hardest_pos = -pos.max(-pos.sim)
    # A first cut with room for rounding; the mining itself then decides on each pair left.
    room = 1e-5 * (1 + mining.epsilon + hardest_pos.abs().nan_to_num(posinf=0.0))
    neg = _rows_above(sim, hardest_pos - mining.epsilon - room)
    hardest_neg = neg.max(neg.sim)
    keep_pos = mining.keeps_pos(pos.sim, pos.spread(hardest_neg))
    keep_neg = mining.keeps_neg(neg.sim, neg.spread(hardest_pos))
    return pos.select(keep_pos), neg.select(keep_neg)


def _rows_above(sim: Tensor, threshold: Tensor | None) -> Rows:
    """The entries of each row above its threshold (C,), in the layout that suits their number."""
    if threshold is None:
        return DenseRows(sim, sim > -torch.inf)
    return rows_of(sim, sim > threshold.unsqueeze(1))
