"""Mining within one batch from half the product, because S is symmetric.

Shapes: N anchors, D dims, K pairs.
"""

import torch
from torch import Tensor

from ..mining import MSMining
from ..weightings.rows import KeptRows, Rows
from .candidates import Labelled, first_cut, mined
from .few import limit, similarities

Pairs = tuple[Tensor, Tensor, Tensor]  # similarities, rows, columns (K,)


def mined_among_themselves(
    x: Tensor, candidates: Labelled, mining: MSMining, chunk_size: int
) -> tuple[Rows, Rows] | None:
    """The mined pairs of ``x`` (N, D) with itself from half the product; None if not few.

    Each pair i, j has two thresholds (eq 11), one for either as anchor. Anchors are taken in the
    order of rising thresholds: the lower one is then that of the earlier anchor, so that one
    comparison per pair of the upper triangle finds all candidates.
    """
    n = len(x)
    most = limit(n, n) // 2  # each pair is found once and then stands for two
    if candidates.num_equal_labels > most:
        return None
    row, column = candidates.equal_labels(0, n)
    row, column = row[row < column], column[row < column]
    cut, order = _cuts(x, row, column, mining).sort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n, device=x.device)
    found = _upper_triangle(x[order], cut, rank[row], rank[column], chunk_size, most)
    if found is None:
        return None
    pos, (sim, row, column) = found
    back = sim > cut[column]
    neg = (torch.cat([sim, sim[back]]), *_both_ways(row, column, back))
    pos = (pos[0].repeat(2), *_both_ways(*pos[1:]))
    pos_rows, neg_rows = (KeptRows(s, order[r], order[c], (n, n)) for s, r, c in (pos, neg))
    return mined(pos_rows, neg_rows, mining)


def _cuts(x: Tensor, row: Tensor, column: Tensor, mining: MSMining) -> Tensor:
    """The threshold (N,) of each anchor's negatives; inf for an anchor without positives.

    From similarities of positives that may round otherwise than those of the whole product: the
    mining itself then decides on what lies above.
    """
    sim = similarities(x, x, row, column)
    hardest_pos = x.new_full((len(x),), torch.inf)
    hardest_pos.scatter_reduce_(0, torch.cat([row, column]), sim.repeat(2), "amin")
    return first_cut(hardest_pos, mining)


def _upper_triangle(
    x: Tensor, cut: Tensor, row: Tensor, column: Tensor, chunk_size: int, most: int
) -> tuple[Pairs, Pairs] | None:
    """Positives, and negatives above the rising ``cut`` (N,) of their row; None if above most.

    ``row``, ``column``: the positives in any order, each pair once.
    """
    n, device = len(x), x.device
    row, column = torch.minimum(row, column), torch.maximum(row, column)
    by_row = row.argsort()
    row, column = row[by_row], column[by_row]
    pos_sim, neg = x.new_empty(len(row)), [(x.new_empty(0), row[:0], row[:0])]
    buffer = x.new_empty(min(chunk_size, n) * n)
    end = int(torch.searchsorted(cut, torch.inf))  # from here on anchors have no positives
    for start in range(0, end, chunk_size):
        stop = min(start + chunk_size, end)
        shape = stop - start, n - start
        sim = buffer[: shape[0] * shape[1]].view(shape)
        torch.mm(x[start:stop], x[start:].T, out=sim)
        first, last = torch.searchsorted(row, torch.tensor([start, stop], device=device)).tolist()
        here = row[first:last] - start, column[first:last] - start
        pos_sim[first:last] = sim[here]
        sim[here] = -torch.inf
        above = sim > cut[start:stop].unsqueeze(1)
        above[:, : shape[0]].triu_(1)
        most -= int(above.count_nonzero())
        if most < 0:
            return None
        anchor, other = above.nonzero(as_tuple=True)
        neg.append((sim[anchor, other], anchor + start, other + start))
    sims, anchors, others = (torch.cat(parts) for parts in zip(*neg, strict=True))
    return (pos_sim, row, column), (sims, anchors, others)


def _both_ways(
    row: Tensor, column: Tensor, back: Tensor | slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """The pairs, and the mirror images of those that ``back`` selects."""
    return torch.cat([row, column[back]]), torch.cat([column, row[back]])
