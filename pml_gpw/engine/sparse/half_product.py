"""Mining within one batch from half the product, because S is symmetric.

Shapes: N anchors, D dims, K pairs.
"""

import torch
from torch import Tensor

from ...mining import PairMining
from ...weightings import SparseRows
from ..growing import GrowingTensors
from .label_index import LabelIndex
from .matrices import products_of_pairs
from .thresholds import negative_threshold

SimilarPairs = tuple[Tensor, Tensor, Tensor]  # similarities, rows, columns (K,)


def rows_from_half_product(
    x: Tensor, index: LabelIndex, mining: PairMining, chunk_size: int, most: int
) -> tuple[SparseRows, SparseRows] | None:
    """The pairs of ``x`` (N, D) with itself that a rule may keep, from half the product.

    None where the rule gives no lower bound, or where there are more than ``most`` pairs.

    Each pair i, j has two thresholds (eq 11), one for either as anchor. Anchors are taken in the
    order of rising thresholds: the lower one is then that of the earlier anchor, so that one
    comparison per pair of the upper triangle finds all candidates.
    """
    n = len(x)
    most = most // 2  # each pair is found once and then stands for two
    if index.num_equal_labels > most:
        return None
    row, column = index.equal_labels(slice(0, n))
    row, column = row[row < column], column[row < column]
    pos_sim = products_of_pairs(x, x, row, column)
    thresholds = _thresholds(n, row, column, pos_sim, mining)
    if thresholds is None:
        return None
    threshold, order = thresholds.sort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(n, device=x.device)
    positives = pos_sim, rank[row], rank[column]
    both = _upper_triangle(x[order], threshold, positives, chunk_size, most)
    if both is None:
        return None
    pos, (sim, row, column) = both
    back = sim > threshold[column]
    neg = (torch.cat([sim, sim[back]]), *_both_ways(row, column, back))
    pos = (pos[0].repeat(2), *_both_ways(*pos[1:]))
    pos_rows, neg_rows = (SparseRows(s, order[r], order[c], (n, n)) for s, r, c in (pos, neg))
    return pos_rows, neg_rows


def _thresholds(
    n: int, row: Tensor, column: Tensor, sim: Tensor, mining: PairMining
) -> Tensor | None:
    """The threshold (N,) of each anchor's negatives; None where the rule knows none.

    From similarities of positives that may round otherwise than those of the whole product: the
    mining itself then decides on what lies above.
    """
    hardest_pos = sim.new_full((n,), torch.inf)
    hardest_pos.scatter_reduce_(0, torch.cat([row, column]), sim.repeat(2), "amin")
    return negative_threshold(hardest_pos, mining)


def _upper_triangle(
    x: Tensor, threshold: Tensor, positives: SimilarPairs, chunk_size: int, most: int
) -> tuple[SimilarPairs, SimilarPairs] | None:
    """Positives, and negatives above the rising ``threshold`` (N,) of their row.

    ``positives`` come in any order, each pair once, with similarities that the products replace.
    None for more than ``most`` negatives.
    """
    n, device = len(x), x.device
    pos_sim, row, column = positives
    row, column = torch.minimum(row, column), torch.maximum(row, column)
    by_row = row.argsort()
    pos_sim, row, column = pos_sim[by_row], row[by_row], column[by_row]
    neg = GrowingTensors(x.new_empty(0), row[:0], row[:0])
    buffer = x.new_empty(min(chunk_size, n) * n)
    end = int(torch.searchsorted(threshold, torch.inf))  # from here on anchors keep nothing
    for start in range(0, end, chunk_size):
        stop = min(start + chunk_size, end)
        shape = stop - start, n - start
        sim = buffer[: shape[0] * shape[1]].view(shape)
        torch.mm(x[start:stop], x[start:].T, out=sim)
        first, last = torch.searchsorted(row, torch.tensor([start, stop], device=device)).tolist()
        here = row[first:last] - start, column[first:last] - start
        pos_sim[first:last] = sim[here]
        sim[here] = -torch.inf
        above = sim > threshold[start:stop].unsqueeze(1)
        above[:, : shape[0]].triu_(1)
        most -= int(above.count_nonzero())
        if most < 0:
            return None
        anchor, other = above.nonzero(as_tuple=True)
        neg.append(sim[anchor, other], anchor + start, other + start)
    sims, anchors, others = neg.tensors()
    return (pos_sim, row, column), (sims, anchors, others)


def _both_ways(
    row: Tensor, column: Tensor, back: Tensor | slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """The pairs, and the mirror images of those that ``back`` selects."""
    return torch.cat([row, column[back]]), torch.cat([column, row[back]])
