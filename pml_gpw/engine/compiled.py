"""A function for each weighting and mining through ``torch.compile``, or plain where that fails.

Any weighting and mining will do, users' own included; no kernel is written for one of them.
"""

import warnings
from dataclasses import is_dataclass
from functools import cache, lru_cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..mining import PairMining
from ..weightings import PairWeighting

LOWEST_TORCH = (2, 6)
"""Before, ``torch.compile`` makes another graph for each value of a hyper-parameter."""


DEVICES = ("cuda", "xpu")
"""Where rows are fused unless somebody says otherwise. On a CPU compiling takes seconds, and a
batch whose mining leaves few pairs is quicker without."""

CPU_OPTIONS: dict[str, Any] = {"realize_reads_threshold": 100}
"""Masks are computed again in each loop over a row, rather than written and read as bytes, which
takes three times as long."""


class CannotFuse(RuntimeError):
    """Rows were to be fused and ``torch.compile`` does not take them, or does not work here."""


def is_to_be_fused(fused: bool | None, device: torch.device) -> bool:
    """Whether to compile: ``fused``, or where it is None, on accelerators where that works.

    Errors: :class:`CannotFuse` for True and a torch that is too old.

    >>> is_to_be_fused(None, torch.device("cpu"))
    False
    """
    if fused is False or (fused is None and device.type not in DEVICES):
        return False
    if is_torch_new_enough():
        return True
    if fused:
        lowest = ".".join(map(str, LOWEST_TORCH))
        raise CannotFuse(f"fused=True needs torch >= {lowest}, got {torch.__version__}")
    return False


def is_torch_new_enough() -> bool:
    """Whether ``torch.compile`` keeps hyper-parameters as variables of a graph."""
    major, minor = torch.__version__.split(".")[:2]
    return (int(major), int(minor)) >= LOWEST_TORCH


def compiled_function(
    template: Any, weighting: PairWeighting, mining: PairMining | None, like: Tensor
) -> "CompiledFunction":
    """A function of tensors with the device and dtype of ``like``, the same whenever asked again.

    ``template``: a function of tensors, weighting and mining, the last two in this order.
    """
    kind = like.device, like.dtype, torch.is_inference_mode_enabled()  # would make other graphs
    return _compiled_function(template, *map(_identity, (weighting, mining)), kind)


class CompiledFunction:
    """A template for one weighting and mining: compiled, or plain where that is impossible."""

    def __init__(self, template: Any, name: str, device: str) -> None:
        # A code object of its own, since torch allows 8 graphs for one.
        code = template.__code__.replace(co_name=name)
        self._plain = FunctionType(code, template.__globals__, name)
        options = CPU_OPTIONS if device == "cpu" else None
        self._compiled = torch.compile(self._plain, dynamic=True, fullgraph=True, options=options)
        self._cannot = False
        self._has_warned = False

    def __call__(self, arguments: tuple[Any, ...], must: bool) -> Any:
        """What the template makes of its arguments.

        Errors: :class:`CannotFuse` where it ``must`` be compiled and cannot.
        """
        matrix, *_, weighting, mining = arguments
        if min(matrix.shape) < 2:  # sizes 0 and 1 would be other graphs
            return self._plain(*arguments)
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
def _compiled_function(template: Any, weighting: Any, mining: Any, kind: Any) -> CompiledFunction:
    names = template.__name__, weighting[0].__name__, mining[0].__name__
    return CompiledFunction(template, "_".join(names), kind[0].type)


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
