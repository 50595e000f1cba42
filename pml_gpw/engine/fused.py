"""Rows of a chunk through ``torch.compile``: masks, mining and weighting as one function.

Any weighting and mining will do, users' own included; no kernel is written for one of them.
Shapes: N anchors, M references, C rows of a chunk.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
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


class FusedRows(NamedTuple):
    """What the rows of a chunk come to."""

    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)
    signed: Tensor  # (C, M), in the place of the similarities: + for negatives, − for positives
    least: Tensor  # (), the least weight, which must not be negative


DEVICES = ("cuda", "xpu")
"""Where rows are fused unless somebody says otherwise. On a CPU compiling takes seconds, and a
batch whose mining leaves few pairs is quicker without."""

RowsOfChunk = Callable[[Tensor, slice, Origin], FusedRows]
"""From similarities (C, M), their anchors and their origin to what their rows come to."""


CPU_OPTIONS: dict[str, Any] = {"realize_reads_threshold": 100}
"""Masks are computed again in each loop over a row, rather than written and read as bytes, which
takes three times as long."""


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
    function, weighting, mining = _prepared(template, weighting, mining, device.type)
    if fused is None and function.cannot is not None:
        return None
    key_of = (lambda origin: origin.key) if mining is not None and mining.is_random else _no_key

    def rows_of(sim: Tensor, anchors: slice, origin: Origin) -> FusedRows:
        if isinstance(pairs, LabelPairs):
            given = pairs.labels[anchors], pairs.reference_labels
        else:
            given = pairs.masks(anchors)
        self_index = pairs.self_index
        if self_index is None:  # as a tensor too, since None would be another graph
            self_index = given[0].new_full((len(sim),), -1, dtype=torch.int64)
        else:
            self_index = self_index[anchors]
        number = origin.first_anchor + anchors.start + FIRST
        # Without what they are views of, whose sizes would make other graphs.
        tensors = (tensor.data for tensor in (sim, *given, self_index))
        rules = key_of(origin), number, weighting, mining
        return function((*tensors, *rules), must=fused is True)

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


FIRST = 2
"""The number of the first anchor inside a graph: for 0 and 1 torch makes graphs of their own."""


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
        # A code object of its own: torch gives up after 8 graphs for one, and runs on eagerly
        # without a word.
        code = template.__code__.replace(co_name=name)
        self._plain = FunctionType(code, template.__globals__, name)
        options = CPU_OPTIONS if device == "cpu" else None
        self._compiled = torch.compile(self._plain, dynamic=True, fullgraph=True, options=options)
        self.cannot: Exception | None = None

    def __call__(self, arguments: tuple[Any, ...], must: bool) -> FusedRows:
        sim = arguments[0]
        if min(sim.shape) < 2:  # sizes 0 and 1 would be other graphs
            return self._plain(*arguments) if sim.numel() else _no_rows(sim)
        if is_in_torch_dispatch_mode():  # torch.compile refuses to run below one
            return self._plain(*arguments)
        if self.cannot is None:
            try:
                return self._compiled(*arguments)
            except _compiler_errors() as error:
                self.cannot = error
        if must:
            weighting, mining = arguments[-2:]
            raise CannotFuse(
                f"fused=True: torch.compile cannot take {weighting} with {mining} here: "
                f"{str(self.cannot).strip() or type(self.cannot).__name__}"
            ) from self.cannot
        return self._plain(*arguments)


def _prepared(
    template: Any, weighting: PairWeighting, mining: PairMining | None, device: str
) -> tuple[_FusedFunction, PairWeighting, PairMining | None]:
    """The function of two rules, and the rules with their numbers as floats."""
    try:
        return _found(template, weighting, mining, device)
    except TypeError:  # a rule that cannot be hashed
        return _found.__wrapped__(template, weighting, mining, device)


@lru_cache
def _found(
    template: Any, weighting: PairWeighting, mining: PairMining | None, device: str
) -> tuple[_FusedFunction, PairWeighting, PairMining | None]:
    weighting, mining = _with_floats(weighting), _with_floats(mining)
    return (
        _fused_function(template, _identity(weighting), _identity(mining), device),
        weighting,
        mining,
    )


@cache
def _fused_function(template: Any, weighting: Any, mining: Any, device: str) -> _FusedFunction:
    names = template.__name__, weighting[0].__name__, mining[0].__name__
    return _FusedFunction(template, "_".join(names), device)


@cache
def _compiler_errors() -> tuple[type[Exception], ...]:
    """What ``torch.compile`` raises where it, or the compiler behind it, does not work."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    return TorchDynamoException, InductorError


def _no_key(origin: Origin) -> None:
    """A rule that draws nothing is not told of a key, which would be another graph."""


def _no_rows(sim: Tensor) -> FusedRows:
    nothing = sim.new_zeros(len(sim))
    return FusedRows(nothing, nothing, nothing, torch.zeros_like(sim), sim.new_zeros(()))


def _with_floats(rule: Any) -> Any:
    """The rule with its numbers as floats, where so annotated: an integer would be a constant."""
    if not is_dataclass(rule) or isinstance(rule, type):
        return rule
    changed = {
        field.name: float(value)
        for field in fields(rule)
        if "float" in str(field.type) and type(value := getattr(rule, field.name)) is int
    }
    return replace(rule, **changed) if changed else rule


def _identity(rule: Any) -> tuple[Any, ...]:
    """The class of a rule and those of its values that a graph keeps as constants."""
    if not is_dataclass(rule):
        return (type(rule),)
    values = ((field.name, getattr(rule, field.name)) for field in fields(rule))
    constants = tuple((name, value) for name, value in values if type(value) is not float)
    try:
        hash(constants)
    except TypeError:
        return (type(rule),)
    return type(rule), constants
