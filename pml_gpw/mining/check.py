"""A check that a mining rule of one's own keeps its promises, to be called where it is written."""

from weakref import WeakSet

import torch
from torch import Tensor

from ..weightings import DenseRows, PairWeighting, SparseRows
from ..weightings.base import ChangedInPlace, evaluated
from ..weightings.check import ADVICE, ANCHORS, ExampleRows, example_rows, in_words
from ..weightings.pair_rows import RowContext
from ..weightings.rules import checked_rule
from .base import PairMining, mine_rows

KEY = 1234567890123456789
Masks = tuple[Tensor, Tensor]


def check_mining(mining: PairMining) -> None:
    """Raise a ValueError where a rule does not keep what a :class:`PairMining` promises.

    It takes random similarities of 6 anchors and 11 references, some anchors without positives or
    without negatives. There

    - each pair must have a boolean;
    - both layouts, and each anchor by itself, must keep the same pairs, random rules included;
    - without the negatives at or below ``negative_lower_bound`` the same pairs must be kept.

    It cannot know which rule was meant.

    >>> from pml_gpw.mining import MSMining
    >>> check_mining(MSMining(0.1))
    """
    checked_rule("mining", mining, PairMining)
    for seed in range(4):
        rows = example_rows(seed)
        dense = _kept(mining, DenseRows, rows)
        if not mining.needs_dense:
            _refuse_others(mining, "as lists of pairs", _kept(mining, SparseRows, rows), dense)
        parts = [
            _kept(mining, DenseRows, ExampleRows(*(m[i : i + 1] for m in rows)), i)
            for i in range(ANCHORS)
        ]
        alone = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        _refuse_others(mining, "with each anchor by itself", alone, dense)
        hardest = rows.sim.masked_fill(~rows.pos, torch.inf).amin(dim=1)
        bound = mining.negative_lower_bound(hardest)
        if bound is not None:
            above = rows.sim > bound.unsqueeze(1)
            fewer = _kept(mining, DenseRows, rows._replace(neg=rows.neg & above))
            _refuse_others(mining, "without the negatives below its bound", fewer, dense)


def _kept(
    mining: PairMining,
    layout: type[DenseRows] | type[SparseRows],
    rows: ExampleRows,
    first_anchor: int = 0,
) -> Masks:
    """The masks (C, M) of what is kept, by one of the layouts."""
    context = RowContext(first_anchor, torch.tensor(KEY) if mining.is_random else None)

    def call() -> Masks:
        pos, neg = (side.with_context(context) for side in rows.as_layout(layout))
        kept = mine_rows(pos, neg, mining)
        masks = []
        for side in kept:
            mask = torch.zeros_like(rows.pos)
            mask[side.indices()] = True
            masks.append(mask)
        return masks[0], masks[1]

    return in_words(f"mining {type(mining).__name__}", layout, call)


def _refuse_others(mining: PairMining, how: str, found: Masks, expected: Masks) -> None:
    for kind, one, other in zip(("positives", "negatives"), found, expected, strict=True):
        if not one.equal(other):
            raise ValueError(
                f"mining {type(mining).__name__} must keep the same {kind} {how}, got "
                f"{int(one.sum())}, not {int(other.sum())}: {ADVICE}"
            )


@torch.inference_mode(False)  # where torch does not count changes
@torch.no_grad()
def refuse_changes_in_place(*rules: PairWeighting | PairMining | None) -> None:
    """Raise a ValueError for rules that write into the similarities that they are to read.

    Where rows are computed one by one their engine notices; a compiled graph does not, so that
    rules are tried on an example before, once a class.
    """
    for rule in rules:
        if rule is None or type(rule) in _TRIED:
            continue
        sim, *masks = example_rows(0)
        pos, neg = (
            DenseRows(sim, mask, RowContext(0, torch.full((), KEY, device="cpu"))) for mask in masks
        )
        try:
            if isinstance(rule, PairMining):
                mine_rows(pos, neg, rule)
            else:
                evaluated(rule, pos, neg)
        except ChangedInPlace:
            raise
        except Exception:  # what else is wrong shows where it matters
            continue
        _TRIED.add(type(rule))


_TRIED: WeakSet[type] = WeakSet()
