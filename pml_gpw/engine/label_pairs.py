"""Pairs by labels: equal labels are positives, all others negatives.

Shapes: N anchors, M references, C rows of a chunk, K pairs.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from ..mining import PairMining
from ..weightings import DenseRows, Rows, SparseRows
from ..weightings.sparse_rows import rows_by_density
from .pairs import Pairs


@dataclass(frozen=True, eq=False)
class LabelPairs(Pairs):
    """Pairs of equal labels are positives, all others negatives.

    Args:
        labels: (N,) int64.
        reference_labels: (M,) int64.
        self_index: (N,) int64, the column of each anchor itself among the references, −1 where it
            is not there; that pair is neither. None: it is nowhere.
        self_index_is_given: whether the caller said where anchors are, rather than their values.
        symmetric: whether anchors and references are the same objects, each its own self pair.

    >>> import torch
    >>> labels = torch.tensor([0, 0, 1])
    >>> LabelPairs(labels, labels, torch.arange(3)).masks(slice(0, 1))
    (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """

    labels: Tensor
    reference_labels: Tensor
    self_index: Tensor | None = None
    self_index_is_given: bool = False
    symmetric: bool = False
    where_none: ClassVar[str] = "the labels give none"

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return len(self.labels), len(self.reference_labels)

    @override
    def masks(self, anchors: slice) -> tuple[Tensor, Tensor]:
        labels = self.labels[anchors]
        if self.symmetric:
            pos, neg = label_masks(labels, self.reference_labels)
            pos.diagonal(anchors.start).fill_(False)
            return pos, neg
        self_index = None if self.self_index is None else self.self_index[anchors]
        return label_masks(labels, self.reference_labels, self_index)

    @override
    def part(self, anchors: slice) -> "LabelPairs":
        self_index = None if self.self_index is None else self.self_index[anchors]
        return LabelPairs(self.labels[anchors], self.reference_labels, self_index, True)

    @override
    def rows(self, sim: Tensor, anchors: slice, mining: PairMining | None) -> tuple[Rows, Rows]:
        same_row, same_column = self.equal_labels(anchors)
        row, column = same_row, same_column
        if self.self_index is not None:
            other = column != self.self_index[anchors][row]
            row, column = row[other], column[other]
        pos = SparseRows(sim[row, column], row, column, (sim.shape[0], sim.shape[1]))
        sim[same_row, same_column] = -torch.inf  # what is left are the negatives
        threshold = None if mining is None else negative_threshold(pos.min(pos.sim), mining)
        if threshold is None:
            return pos, DenseRows(sim, sim > -torch.inf)
        return pos, rows_by_density(sim, sim > threshold.unsqueeze(1))

    @cached_property
    def _by_label(self) -> tuple[Tensor, Tensor, Tensor]:
        """References by label (M,); where those of each anchor begin (N,), and how many (N,)."""
        ordered, order = self.reference_labels.sort(stable=True)
        first = torch.searchsorted(ordered, self.labels)
        return order, first, torch.searchsorted(ordered, self.labels, right=True) - first

    @property
    def num_equal_labels(self) -> int:
        """How many pairs have equal labels, self pairs included."""
        return int(self._by_label[2].sum())

    def equal_labels(self, anchors: slice) -> tuple[Tensor, Tensor]:
        """The rows (K,), from 0, and columns (K,) of the equal labels of some anchors.

        Row by row, with the self pairs.
        """
        order, first, count = self._by_label
        count = count[anchors]
        row = torch.repeat_interleave(count)
        before = count.cumsum(0) - count
        place = torch.arange(len(row), device=row.device) + (first[anchors] - before)[row]
        return row, order[place]


def label_masks(
    labels: Tensor, reference_labels: Tensor, self_index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of positives (equal labels) and negatives, without self pairs.

    Shapes: ``labels`` (N,), ``reference_labels`` (M,), ``self_index`` (N,), −1 for none.
    """
    neg = labels.unsqueeze(1) != reference_labels.unsqueeze(0)
    pos = ~neg
    if self_index is not None:
        column = torch.arange(len(reference_labels), device=pos.device)
        pos &= column != self_index.unsqueeze(1)
    return pos, neg


def negative_threshold(hardest_pos: Tensor, mining: PairMining) -> Tensor | None:
    """Below this similarity (N,) no negative is mined, with room for rounding; None: unknown.

    ``hardest_pos`` (N,): the anchor's smallest similarity to a positive, inf where it has none.
    """
    bound = mining.negative_lower_bound(hardest_pos)
    if bound is None:
        return None
    if not isinstance(bound, Tensor) or bound.shape != hardest_pos.shape:
        got = tuple(bound.shape) if isinstance(bound, Tensor) else repr(bound)
        raise ValueError(
            f"negative_lower_bound of {type(mining).__name__} must return None or a tensor of "
            f"{tuple(hardest_pos.shape)}, got {got}"
        )
    bound = torch.where(bound.isnan(), -torch.inf, bound)  # inf − inf says nothing
    size = 1 + bound.abs() + hardest_pos.abs().nan_to_num(posinf=0.0)
    return torch.where(bound.isfinite(), bound - 1e-5 * size, bound)
