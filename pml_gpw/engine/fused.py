"""Rows of a chunk through ``torch.compile``: masks, mining and weighting as one function.

Any weighting and mining will do, users' own included; no kernel is written for one of them.
Shapes: N anchors, M references, C rows of a chunk.
"""

import warnings
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache, lru_cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..mining import PairMining
from ..mining.base import mine_rows
from ..weightings import DenseRows, PairWeighting
from ..weightings.base import weigh
from ..weightings.pair_rows import Origin
from .label_pairs import LabelPairs, label_masks
from .pairs import Pairs

LOWEST_TORCH = (2, 6)
"""Before, ``torch.compile`` makes another graph for each value of a hyper-parameter."""


DEVICES = ("cuda", "xpu")
"""Where rows are fused unless somebody says otherwise. On a CPU compiling takes seconds, and a
batch whose mining leaves few pairs is quicker without."""

CPU_OPTIONS: dict[str, Any] = {"realize_reads_threshold": 100}
"""Masks are computed again in each loop over a row, rather than written and read as bytes, which
takes three times as long."""

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


class CannotFuse(RuntimeError):
    """Rows were to be fused and ``torch.compile`` does not take them, or does not work here."""


def fused_rows(
    weighting: PairWeighting,
    mining: PairMining | None,
    pairs: Pairs,
    fused: bool | None,
    device: torch.device,
) -> RowsOfChunk | None:
    """The fused function for some pairs; None where rows are not to be fused.

    ``fused``: True: or an error; False: never; None: on accelerators, where that works.
    Errors: :class:`CannotFuse` for True, here for a torch that is too old, else by the function.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs
    >>> from pml_gpw.weightings import Constant
    >>> labels = torch.tensor([0, 0, 1])
    >>> fused_rows(Constant(), None, LabelPairs(labels, labels), None, torch.device("cpu")) is None
    True
    """
    if fused is False or (fused is None and device.type not in DEVICES):
        return None
    if not is_torch_new_enough():
        if fused:
            lowest = ".".join(map(str, LOWEST_TORCH))
            raise CannotFuse(f"fused=True needs torch >= {lowest}, got {torch.__version__}")
        return None
    template = _rows_of_labels if isinstance(pairs, LabelPairs) else _rows_of_masks
    is_random = mining is not None and mining.is_random

    def rows_of(sim: Tensor, anchors: slice, origin: Origin) -> FusedRows:
        if isinstance(pairs, LabelPairs):
            given = pairs.labels[anchors], pairs.reference_labels
        else:
            given = pairs.masks(anchors)
        if pairs.self_index is None:  # as a tensor too, since None would be another graph
            self_index = given[0].new_full((len(sim),), -1, dtype=torch.int64)
        else:
            self_index = pairs.self_index[anchors]
        # Without what they are views of, whose sizes would make other graphs.
        tensors = (tensor.data.contiguous() for tensor in (sim, *given, self_index))
        key = origin.key if is_random else None
        number = origin.first_anchor + anchors.start + FIRST
        function = _fused_function(template, *map(_identity, (weighting, mining)), _kind(sim))
        return function((*tensors, key, number, weighting, mining), must=fused is True)

    return rows_of


def is_torch_new_enough() -> bool:
    """Whether ``torch.compile`` keeps hyper-parameters as variables of a graph."""
    major, minor = torch.__version__.split(".")[:2]
    return (int(major), int(minor)) >= LOWEST_TORCH


def warm_up(
    weighting: PairWeighting,
    mining: PairMining | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compile the rows of pairs by labels now, some seconds, rather than in the first step.

    Errors: :class:`CannotFuse` where ``torch.compile`` does not take them or does not work.

    >>> from pml_gpw.mining import MSMining
    >>> from pml_gpw.weightings import MultiSimilarity
    >>> warm_up(MultiSimilarity(), MSMining())  # doctest: +SKIP
    """
    for n, m in ((128, 128), (64, 320)):  # a square and another one: then no size makes a graph
        labels = torch.arange(m, device=device) // 4
        pairs = LabelPairs(labels[:n], labels, torch.arange(n, device=device))
        rows = fused_rows(weighting, mining, pairs, True, labels.device)
        assert rows is not None
        key = torch.zeros((), dtype=torch.int64, device=device)
        sim = torch.arange(n * m, device=device, dtype=dtype).sin().view(n, m)
        with torch.no_grad():
            rows(sim, slice(0, n), Origin(0, key, pairs.self_index))


def _rows_of_labels(
    sim: Tensor,
    labels: Tensor,
    reference_labels: Tensor,
    self_index: Tensor,
    key: Tensor | None,
    number: int,
    weighting: PairWeighting,
    mining: PairMining | None,
) -> FusedRows:
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
    least = torch.minimum(pos_weights.amin(), neg_weights.amin())
    counts = rows[0].count(), rows[1].count()
    # In place: eq 1-3 need the similarities no more, and new memory costs more than the sums.
    return FusedRows(losses, *counts, sim.copy_(neg_weights - pos_weights), least)


class _FusedFunction:
    """A template for one weighting and mining: compiled, or plain where that is impossible."""

    def __init__(self, template: Any, name: str, device: str) -> None:
        # A code object of its own, since torch allows 8 graphs for one.
        code = template.__code__.replace(co_name=name)
        self._plain = FunctionType(code, template.__globals__, name)
        options = CPU_OPTIONS if device == "cpu" else None
        self._compiled = torch.compile(self._plain, dynamic=True, fullgraph=True, options=options)
        self._cannot = False
        self._has_warned = False

    def __call__(self, arguments: tuple[Any, ...], must: bool) -> FusedRows:
        sim, *_, weighting, mining = arguments
        if min(sim.shape) < 2:  # sizes 0 and 1 would be other graphs
            return self._plain(*arguments) if sim.numel() else _no_rows(sim)
        # torch.compile refuses to run below a dispatch mode.
        if is_in_torch_dispatch_mode() or (self._cannot and not must):
            return self._plain(*arguments)
        errors = _compiler_errors()
        try:
            return self._compiled(*arguments)
        except errors.too_many_graphs:
            self._warn_of_graphs(weighting, mining)
            return self._plain(*arguments)
        except errors.others as error:
            # Its text alone: the error would keep the similarities alive.
            why = str(error).strip() or type(error).__name__
        self._cannot = True
        found = self._plain(*arguments)  # raises what is wrong with the formula itself
        if must:
            raise CannotFuse(
                f"fused=True: torch.compile cannot take {weighting} with {mining} here: {why}"
            )
        return found

    def _warn_of_graphs(self, weighting: PairWeighting, mining: PairMining | None) -> None:
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{weighting} with {mining} has compiled as many graphs as torch allows for one "
                "function; what needs another one runs eagerly",
                stacklevel=2,
            )


@lru_cache(maxsize=256)
def _fused_function(template: Any, weighting: Any, mining: Any, kind: Any) -> _FusedFunction:
    names = template.__name__, weighting[0].__name__, mining[0].__name__
    return _FusedFunction(template, "_".join(names), kind[0].type)


class _CompilerErrors(NamedTuple):
    too_many_graphs: tuple[type[Exception], ...]
    others: tuple[type[Exception], ...]


@cache
def _compiler_errors() -> _CompilerErrors:
    """What ``torch.compile`` raises where it, or the compiler behind it, does not work."""
    from torch._dynamo import exc
    from torch._inductor import exc as inductor

    too_many = [getattr(exc, "FailOnRecompileLimitHit", None)]
    others = [exc.TorchDynamoException, getattr(inductor, "InductorError", None)]
    found = (tuple(e for e in each if e is not None) for each in (too_many, others))
    return _CompilerErrors(*found)


def _no_rows(sim: Tensor) -> FusedRows:
    nothing = sim.new_zeros(len(sim))
    return FusedRows(nothing, nothing, nothing, torch.zeros_like(sim), sim.new_zeros(()))


CONSTANTS = (str, bool, int, tuple, type(None))
"""Values of a rule that a graph keeps as constants: another one is another function."""


def _identity(rule: Any) -> tuple[Any, ...]:
    """The class of a rule and its constants; not its other values, which the graph looks at."""
    values = getattr(rule, "__dict__", {}).items() if is_dataclass(rule) else ()
    constants = [(name, type(v), v) for name, v in values if isinstance(v, CONSTANTS)]
    try:
        hash(tuple(constants))
    except TypeError:  # a tuple of what cannot be hashed
        return (type(rule),)
    return type(rule), *constants


def _kind(sim: Tensor) -> tuple[Any, ...]:
    """What would make other graphs beside sizes and rules."""
    return sim.device, sim.dtype, torch.is_inference_mode_enabled()
