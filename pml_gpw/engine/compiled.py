"""A function for each weighting and mining through ``torch.compile``, or plain where that fails.

Any weighting and mining will do, users' own included; no kernel is written for one of them.
"""

import warnings
from dataclasses import is_dataclass
from functools import cache, lru_cache
from types import FunctionType
from typing import Any

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..mining.check import refuse_changes_in_place
from ..weightings.pair_rows import RowContext
from ..weightings.rules import float_fields, twin_of
from .plan import Program, Upstream

#: Masks are computed again in each loop over a row, rather than written and read as bytes, which
#: takes three times as long.
CPU_OPTIONS: dict[str, Any] = {"realize_reads_threshold": 100}
#: Values of a rule that a graph keeps as constants: another one is another function.
CONSTANTS = (str, bool, int, tuple, type(None))


_warn_once = cache(warnings.warn)


class CannotFuse(RuntimeError):
    """Rows were to be fused and ``torch.compile`` does not take them, or does not work here."""


def call_compiled(
    template: Any, tensors: Any, program: Program, anchors: slice, upstream: Upstream
) -> Any:
    """The result of a template, compiled; the first tensor has a row for each anchor.

    ``template``: a function of ``tensors``, the context of the anchors, values of trained fields,
    weighting and mining.
    Errors: :class:`CannotFuse` where the program is strict and torch cannot compile it.
    """
    like, rules = tensors[0], (program.weighting, program.mining)
    number, key, self_index, _ = program.context.at(anchors)
    # As tensors, since None and each number would be other graphs.
    first: Any = torch.full((), number, dtype=torch.int64, device=like.device)
    if self_index is None:
        self_index = like.new_full((len(like),), -1, dtype=torch.int64)
    key = key if program.mining is not None and program.mining.is_random else None
    # Without what they are views of, whose sizes would make other graphs.
    *plain, self_index = (tensor.data.contiguous() for tensor in (*tensors, self_index))
    trained = program.trained_at(anchors, upstream)
    # Each would make other graphs.
    kind = like.device, like.dtype, any(tensor.is_inference() for tensor in plain)
    function = _compiled_function(template, *map(_identity, rules), kind)
    context = RowContext(first, key, self_index)
    return function((*plain, context, trained), rules, program.is_strict)


class CompiledFunction:
    """A template for one weighting and mining: compiled, or plain where that is impossible."""

    def __init__(self, template: Any, weighting: Any, mining: Any, kind: Any) -> None:
        name = f"{template.__name__}_{weighting[0].__name__}_{mining[0].__name__}"
        # A code object of its own, since torch allows 8 graphs for one.
        code = template.__code__.replace(co_name=name)
        self._plain = FunctionType(code, template.__globals__, name)
        self._device, self._dtype, _ = kind
        options = CPU_OPTIONS if self._device.type == "cpu" else None
        self._compiled = torch.compile(self._plain, dynamic=True, fullgraph=True, options=options)
        self._has_run, self._cannot, self._takes_tensors = False, False, True
        self._twins: Any = ((), ())  # of the values of the latest rules

    def __call__(self, arguments: tuple[Any, ...], rules: tuple[Any, Any], strict: bool) -> Any:
        """The result of the template for its arguments and rules.

        Errors: :class:`CannotFuse` where it is ``strict`` and torch cannot compile it.
        """
        # Sizes 0 and 1 would be other graphs; torch.compile refuses to run below a dispatch mode.
        cannot = min(arguments[0].shape) < 2 or is_in_torch_dispatch_mode()
        if cannot or (self._cannot and not strict):
            return self._plain(*arguments, *rules)
        if not self._has_run:
            refuse_changes_in_place(*rules)  # which a graph does not notice
        why = ""
        for with_tensors in (True, False) if self._takes_tensors else (False,):
            given = self._with_tensors(rules) if with_tensors else rules
            try:
                result = self._compiled(*arguments, *given)
                self._has_run = True
                return result
            except Exception as error:
                is_limit, is_compilers = _kind_of(error)
                if is_limit:
                    text = f"{self._plain.__name__} has as many graphs as torch allows"
                    _warn_once(f"{text}; what needs another one runs eagerly")
                    return self._plain(*arguments, *rules)
                # A formula that needs numbers may fail in any way with tensors in their place.
                if not is_compilers and (self._has_run or not with_tensors):
                    raise
                # Its text alone: the error would keep the similarities alive.
                why = str(error).strip() or type(error).__name__
                self._takes_tensors = False
        self._cannot = True
        result = self._plain(*arguments, *rules)  # raises what is wrong with the formula itself
        if strict:
            raise CannotFuse(
                f"fused=True: torch.compile cannot take {rules[0]} with {rules[1]} here: {why}"
            )
        return result

    def _with_tensors(self, rules: tuple[Any, Any]) -> tuple[Any, ...]:
        """Twins of rules whose float fields are tensors (), so that a graph takes any value.

        They are for a graph alone. Tensors are filled on the device, which copies nothing.
        """
        values = [v for rule in rules for v in getattr(rule, "__dict__", {"": rule}).values()]
        known, twins = self._twins
        if len(values) != len(known) or not all(map(_is_same, values, known)):
            twins = tuple(map(self._twin, rules))
            self._twins = values, twins
        return twins

    def _twin(self, rule: Any) -> Any:
        kind = {"device": self._device, "dtype": self._dtype}
        return twin_of(rule, {k: torch.full((), v, **kind) for k, v in float_fields(rule).items()})


def _is_same(value: Any, other: Any) -> bool:
    return value is other or (type(value) is type(other) is float and value == other)


_compiled_function = lru_cache(maxsize=256)(CompiledFunction)


def _kind_of(error: Exception) -> tuple[bool, bool]:
    """Two truths: torch has made as many graphs as it may; it cannot compile something."""
    from torch._dynamo import exc

    too_many = getattr(exc, "FailOnRecompileLimitHit", ())
    is_limit = isinstance(error, too_many) or "cache_size_limit reached" in str(error)
    own = isinstance(error, exc.TorchDynamoException) or type(error).__module__.startswith("torch.")
    return is_limit, own


def _identity(rule: Any) -> tuple[Any, ...]:
    """The class of a rule and its constants; not its other values, which the graph looks at."""
    values = getattr(rule, "__dict__", {}).items() if is_dataclass(rule) else ()
    # As text, because a tuple may hold what cannot be hashed.
    constants = [(name, type(v), repr(v)) for name, v in values if isinstance(v, CONSTANTS)]
    return type(rule), *constants
