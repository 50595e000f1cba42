"""Mining within one batch from half the product, because S is symmetric.

Shapes: N anchors, D dims, K pairs.
"""

import torch
from torch import Tensor

from ..mining import MSMining
from ..weightings.rows import KeptRows, Rows
from .candidates import Labelled, first_cut, mined
from .few import limit, similarities


def mined_among_themselves(
    x: Tensor, candidates: Labelled, mining: MSMining, chunk_size: int
) -> tuple[Rows, Rows] | None:
    """The mined pairs of ``x`` (N, D) with itself from half the product, as S is symmetric.

    None where they are not few. Each pair i, j has two thresholds (eq 11), one for either as
    anchor. Anchors are taken in the order of rising thresholds: the lower one is then that of
    the earlier anchor, so one comparison per pair of the upper triangle finds all candidates.
    """
    n, most = len(x), limit(len(x), len(x))
    if candidates.num_equal_labels > most:
        return None
    row, column = candidates.equal_labels(0, n)
    once = row < column
    row, column = row[once], column[once]
    # The hardest positives to within rounding; the mining itself then decides on what is left.
    rough = similarities(x, x, row, column)
    hardest_pos = x.new_full((n,), torch.inf)
    hardest_pos.scatter_reduce_(0, torch.cat([row, column]), rough.repeat(2), "amin")
    cut, order = first_cut(hardest_pos, mining).sort()
    place = torch.empty_like(order)
    place[order] = torch.arange(n, device=x.device)
    x = x[order]
    row, column = place[row], place[column]
    row, column = torch.minimum(row, column), torch.maximum(row, column)
    by_row = row.argsort()
    row, column = row[by_row], column[by_row]

    pos_sim, found = torch.empty_like(rough), []
    alone = int(torch.searchsorted(cut, torch.inf))  # from here on anchors have no positives
    buffer = x.new_empty(min(chunk_size, n) * n)
    left = most
    for start in range(0, alone, chunk_size):
        stop = min(start + chunk_size, alone)
        shape = stop - start, n - start
        sim = buffer[: shape[0] * shape[1]].view(shape)
        torch.mm(x[start:stop], x[start:].T, out=sim)
        begin, end = torch.searchsorted(row, torch.tensor([start, stop], device=x.device)).tolist()
        here = row[begin:end] - start, column[begin:end] - start
        pos_sim[begin:end] = sim[here]
        sim[here] = -torch.inf
        above = sim > cut[start:stop].unsqueeze(1)
        above[:, : shape[0]].triu_(1)
        left -= int(above.count_nonzero())
        if left < 0:
            return None
        anchor, other = above.nonzero(as_tuple=True)
        found.append((anchor + start, other + start, sim[anchor, other]))
    if found:
        anchor, other, neg_sim = (torch.cat(parts) for parts in zip(*found, strict=True))
    else:
        anchor, other, neg_sim = row[:0], row[:0], rough[:0]
    back = neg_sim > cut[other]
    pos = KeptRows(
        pos_sim.repeat(2),
        order[torch.cat([row, column])],
        order[torch.cat([column, row])],
        (n, n),
    )
    neg = KeptRows(
        torch.cat([neg_sim, neg_sim[back]]),
        order[torch.cat([anchor, other[back]])],
        order[torch.cat([other, anchor[back]])],
        (n, n),
    )
    return mined(pos, neg, mining)
