"""The mined rows of all anchors, as lists of pairs where they are few.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...mining import PairMining
from ...mining.base import mine_rows
from ...weightings import DenseRows, Rows, SparseRows
from ...weightings.pair_rows import RowContext
from ..dense import iter_products
from ..index_pairs import IndexPairs
from ..label_pairs import LabelPairs
from ..plan import SPARSE_BATCH, SPARSE_DENSITY, Chunk, Program
from .half_product import rows_from_half_product
from .label_index import LabelIndex
from .matrices import products_of_pairs
from .thresholds import negative_threshold


def sparse_chunks(x: Tensor, y: Tensor, program: Program) -> Iterator[Chunk]:
    """The mined rows of each chunk of anchors, valid until the next one.

    All anchors are one chunk where the layout is "sparse batch" and their pairs are few enough.
    """
    everything = slice(0, len(x))
    if program.layout == SPARSE_BATCH:
        rows = _rows_of_batch(x, y, program)
        if rows is not None:
            yield everything, *_mined(*rows, everything, program)
            return
    index = LabelIndex(program.pairs) if isinstance(program.pairs, LabelPairs) else None
    for anchors, sim in iter_products(x, y, program):
        relevance: Tensor | float = 1.0
        if index is not None:
            rows = _rows_of_labels(sim, anchors, index, program.mining)
        else:
            pos, neg, relevance = program.pairs.graded_masks(anchors)
            rows = rows_by_density(sim, pos), rows_by_density(sim, neg)
        yield anchors, *_mined(*rows, anchors, program, relevance)


def rows_by_density(sim: Tensor, mask: Tensor, context: RowContext | None = None) -> Rows:
    """The pairs of ``sim`` (C, M) where ``mask`` holds, in the layout that suits their number."""
    if int(mask.count_nonzero()) > SPARSE_DENSITY * mask.numel():
        return DenseRows(sim, mask, context)
    sparse = SparseRows.of(sim, mask)
    return sparse if context is None else sparse.with_context(context)


def _mined(
    pos: Rows, neg: Rows, anchors: slice, program: Program, relevance: Tensor | float = 1.0
) -> tuple[Rows, Rows]:
    context = program.context.at(anchors)._replace(relevance=relevance)
    negatives = neg.with_context(context.of_negatives())
    return mine_rows(pos.with_context(context), negatives, program.mining)


def _rows_of_batch(x: Tensor, y: Tensor, program: Program) -> tuple[Rows, Rows] | None:
    """The candidates of all anchors; None where they are too many, or not known beforehand."""
    pairs, most = program.pairs, program.most_pairs
    if isinstance(pairs, IndexPairs):
        if sum(map(len, pairs.rising)) > most:
            return None
        a1, p, a2, n = pairs.index_tuple()
        pos, neg = (
            SparseRows(products_of_pairs(x, y, row, column), row, column, pairs.shape)
            for row, column in ((a1, p), (a2, n))
        )
        return pos, neg
    if not (isinstance(pairs, LabelPairs) and pairs.symmetric and y is x) or program.mining is None:
        return None
    return rows_from_half_product(x, pairs.labels, program.mining, program.chunk_size, most)


def _rows_of_labels(
    sim: Tensor, anchors: slice, index: LabelIndex, mining: PairMining | None
) -> tuple[Rows, Rows]:
    """The candidates of some anchors; ``sim`` (C, M) is overwritten."""
    same_row, same_column = index.equal_labels(anchors)
    row, column = same_row, same_column
    self_index = index.pairs.self_index_of(anchors)
    if self_index is not None:
        other = (column != self_index[row]).nonzero().squeeze(1)
        row, column = row[other], column[other]
    pos = SparseRows(sim[row, column], row, column, (sim.shape[0], sim.shape[1]))
    sim[same_row, same_column] = -torch.inf  # what is left are the negatives
    if self_index is not None and not index.pairs.symmetric:  # a self pair of another label is none
        with_self = (self_index >= 0).nonzero().squeeze(1)
        sim[with_self, self_index[with_self]] = -torch.inf
    threshold = None if mining is None else negative_threshold(pos.min(pos.sim), mining)
    if threshold is None:
        return pos, DenseRows(sim, sim > -torch.inf)
    return pos, rows_by_density(sim, sim > threshold.unsqueeze(1))
