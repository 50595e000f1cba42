"""Mining within one batch from half the product, because S is symmetric.

Shapes: N anchors, D dims, K pairs.
"""

import torch
from torch import Tensor

from ...mining import PairMining
from ...weightings import SparseRows
from ..growing import GrowingTensors
from ..label_pairs import LabelPairs
from .label_index import LabelIndex
from .matrices import products_of_pairs
from .thresholds import negative_threshold

SimilarPairs = tuple[Tensor, ...]  # similarities, rows and columns (K,)


def rows_from_half_product(
    x: Tensor, labels: Tensor, mining: PairMining, chunk_size: int, most: int
) -> tuple[SparseRows, SparseRows] | None:
    """The pairs of ``x`` (N, D) with itself that a rule may keep, from half the product.

    None where the rule gives no lower bound, or where there are more than ``most`` pairs.

    Each pair i, j has two thresholds (eq 11), one for either as anchor. Anchors are taken in the
    order of rising thresholds: the lower one is then that of the earlier anchor, so that one
    comparison per pair of the upper triangle finds all candidates.
    """
    n, index = len(x), LabelIndex(LabelPairs(labels, labels))
    if index.num_equal_labels > most // 2:  # each pair is found once and then stands for two
        return None
    row, column = index.equal_labels(slice(0, n))
    other = (row != column).nonzero().squeeze(1)  # once: a mask would be searched at each use
    row, column = row[other], column[other]
    # Their similarities may round otherwise than those of the whole product: the mining itself
    # decides on what lies above the threshold.
    pos = SparseRows(products_of_pairs(x, x, row, column), row, column, (n, n))
    thresholds = negative_threshold(pos.min(pos.sim), mining)
    if thresholds is None:
        return None
    threshold, order = thresholds.sort()
    both = _upper_triangle(x[order], labels[order], threshold, chunk_size, most // 2)
    if both is None:
        return None
    positives, negatives = both
    return (
        _both_ways(order, positives, positives[0] > -torch.inf),
        _both_ways(order, negatives, negatives[0] > threshold[negatives[2]]),
    )


def _both_ways(order: Tensor, pairs: SimilarPairs, back: Tensor) -> SparseRows:
    """The pairs of ranks and the mirror images of those that ``back`` selects, as anchors."""
    (sim, row, column), back = pairs, back.nonzero().squeeze(1)
    rows, columns = torch.cat([row, column[back]]), torch.cat([column, row[back]])
    sims, size = torch.cat([sim, sim[back]]), (len(order), len(order))
    return SparseRows(sims, order[rows], order[columns], size)


def _upper_triangle(
    x: Tensor, labels: Tensor, threshold: Tensor, chunk_size: int, most: int
) -> tuple[SimilarPairs, SimilarPairs] | None:
    """Positives, and negatives above the rising ``threshold`` (N,) of their row.

    None for more than ``most`` negatives.
    """
    n, index = len(x), LabelIndex(LabelPairs(labels, labels))
    place = labels.new_empty(0)
    pos, neg = (GrowingTensors(x.new_empty(0), place, place) for _ in range(2))
    buffer = x.new_empty(min(chunk_size, n) * n)
    end = int(torch.searchsorted(threshold, torch.inf))  # from here on anchors keep nothing
    for start in range(0, end, chunk_size):
        stop = min(start + chunk_size, end)
        shape = stop - start, n - start
        sim = buffer[: shape[0] * shape[1]].view(shape)
        torch.mm(x[start:stop], x[start:].T, out=sim)
        row, column = index.equal_labels(slice(start, stop))
        column = column - start
        later = (column > row).nonzero().squeeze(1)
        row, column = row[later], column[later]
        pos.append(sim[row, column], row + start, column + start)
        sim[row, column] = -torch.inf
        above = sim > threshold[start:stop].unsqueeze(1)
        above[:, : shape[0]].triu_(1)
        if len(neg) + int(above.count_nonzero()) > most:
            return None
        row, column = above.nonzero(as_tuple=True)
        neg.append(sim[row, column], row + start, column + start)
    return pos.tensors(), neg.tensors()
