"""Rows of a chunk through ``torch.compile``: masks, mining and weighting as one function.

Shapes: N anchors, M references, C rows of a chunk.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..mining import PairMining
from ..mining.base import mine_rows
from ..weightings import DenseRows, PairWeighting
from ..weightings.base import weigh
from ..weightings.pair_rows import Origin
from .compiled import compiled_function, is_to_be_fused
from .label_pairs import LabelPairs, label_masks
from .pairs import Pairs

FIRST = 2
"""The number of the first anchor inside a graph: for 0 and 1 torch makes graphs of their own."""


class FusedRows(NamedTuple):
    """What the rows of a chunk come to."""

    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)
    signed: Tensor  # (C, M), + for negatives and − for positives, where similarities stood
    least: Tensor  # (), the least weight, which must not be negative


RowsOfChunk = Callable[[Tensor, slice, Origin], FusedRows]
"""From similarities (C, M), their anchors and their origin to what their rows come to."""


def fused_rows(
    weighting: PairWeighting,
    mining: PairMining | None,
    pairs: Pairs,
    fused: bool | None,
    device: torch.device,
) -> RowsOfChunk | None:
    """The fused function for some pairs; None where rows are not to be fused.

    ``fused``: True: or an error; False: never; None: on accelerators, where that works.
    Errors: :class:`~pml_gpw.engine.compiled.CannotFuse` for True, here for a torch that is too
    old, else by the function.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs
    >>> from pml_gpw.weightings import Constant
    >>> labels = torch.tensor([0, 0, 1])
    >>> fused_rows(Constant(), None, LabelPairs(labels, labels), None, torch.device("cpu")) is None
    True
    """
    if not is_to_be_fused(fused, device):
        return None
    template = rows_of_labels if isinstance(pairs, LabelPairs) else _rows_of_masks
    rules, must = (weighting, mining), fused is True

    def rows_of(sim: Tensor, anchors: slice, origin: Origin) -> FusedRows:
        if sim.numel() == 0:
            return _no_rows(sim)
        if isinstance(pairs, LabelPairs):
            given = pairs.labels[anchors], pairs.reference_labels
        else:
            given = pairs.masks(anchors)
        if pairs.self_index is None:  # as a tensor too, since None would be another graph
            self_index = given[0].new_full((len(sim),), -1, dtype=torch.int64)
        else:
            self_index = pairs.self_index[anchors]
        tensors = sim, *given, self_index
        rows: FusedRows = call_compiled(template, tensors, rules, origin, anchors.start, must)
        return rows

    return rows_of


def call_compiled(
    template: Any,
    tensors: Sequence[Tensor],
    rules: tuple[PairWeighting, PairMining | None],
    origin: Origin,
    first_anchor: int,
    must: bool,
) -> Any:
    """What a template, compiled, makes of tensors; the first of them has a row for each anchor.

    ``first_anchor``: the number of the first one after that of ``origin``.
    Errors: :class:`~pml_gpw.engine.compiled.CannotFuse` where it ``must`` be compiled and cannot.
    """
    weighting, mining = rules
    # Without what they are views of, whose sizes would make other graphs.
    plain = [tensor.data.contiguous() for tensor in tensors]
    key = origin.key if mining is not None and mining.is_random else None
    number = origin.first_anchor + first_anchor + FIRST
    function = compiled_function(template, weighting, mining, tensors[0])
    return function((*plain, key, number, weighting, mining), must)


def rows_of_labels(
    sim: Tensor,
    labels: Tensor,
    reference_labels: Tensor,
    self_index: Tensor,
    key: Tensor | None,
    number: int,
    weighting: PairWeighting,
    mining: PairMining | None,
) -> FusedRows:
    """What rows come to, for a graph; anchors are counted from ``FIRST``."""
    masks = label_masks(labels, reference_labels, self_index)
    return _rows_of_masks(sim, *masks, self_index, key, number, weighting, mining)


def _rows_of_masks(
    sim: Tensor,
    pos: Tensor,
    neg: Tensor,
    self_index: Tensor,
    key: Tensor | None,
    number: int,
    weighting: PairWeighting,
    mining: PairMining | None,
) -> FusedRows:
    origin = Origin(number - FIRST, key, self_index)
    rows = mine_rows(DenseRows(sim, pos, origin), DenseRows(sim, neg, origin), mining)
    losses, weights = weigh(weighting, *rows)
    pos_weights, neg_weights = (r.to_dense(w) for r, w in zip(rows, weights, strict=True))
    # Row by row first, which goes into the loops over rows that there are.
    least = torch.minimum(pos_weights, neg_weights).amin(dim=1).amin()
    counts = rows[0].count(), rows[1].count()
    # In place: eq 1-3 need the similarities no more, and new memory costs more than the sums.
    return FusedRows(losses, *counts, sim.copy_(neg_weights - pos_weights), least)


def _no_rows(sim: Tensor) -> FusedRows:
    nothing = sim.new_zeros(len(sim))
    return FusedRows(nothing, nothing, nothing, torch.zeros_like(sim), sim.new_zeros(()))
