"""Checks of what users pass in: each raises a ValueError that names the argument,
says what came and what is allowed. Shapes: N anchors, M references, D dims.
"""

import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .value_checks import eager_checks, flush, host_can_read, report

__all__ = ["eager_checks", "flush", "immediately"]

immediately = eager_checks
"""The former name of :func:`eager_checks`."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
LARGEST_INTEGER = torch.iinfo(torch.int64).max
WRAPPER = "pml_gpw.integrations.sentence_transformers.MetricLearningLoss(model, loss)"


def _refuse_parameter(name: str, value: object) -> None:
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(
            f"{name} must be a number, got a {type(value).__name__}, which nothing would train: "
            f"give a number, and name it in trainable=({name!r},) of the loss to train it"
        )


def positive(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number > 0, and so in float32, in which it is used."""
    _refuse_parameter(name, value)
    if not (_is_number(value) and 0 < value < float("inf")):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    _fits_float32(name, value)
    if float(value) < SMALLEST:
        raise ValueError(f"{name} must be at least {SMALLEST:.3g}, as for float32, got {value!r}")


def positive_integer(name: str, value: int) -> int:
    """The integer, of Python also where NumPy's is given; raise unless int64 holds it and > 0."""
    if not _is_integer(value) or value < 1:
        raise ValueError(f"{name} must be an integer > 0, got {value!r}")
    if value > LARGEST_INTEGER:
        raise ValueError(f"{name} must be at most 2**63 - 1, got {_size(value)}")
    return int(value)


def non_negative_integer(name: str, value: int) -> int:
    """The integer, of Python also where NumPy's is given; raise unless it is one >= 0."""
    if not _is_integer(value) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {value!r}")
    return int(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def non_negative(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number >= 0, and finite in float32."""
    _refuse_parameter(name, value)
    if not (_is_number(value) and 0 <= value < float("inf")):
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    _fits_float32(name, value)


def finite(name: str, value: float) -> None:
    """Raise unless ``value`` is a finite number, also in float32."""
    _refuse_parameter(name, value)
    if not (_is_number(value) and abs(value) < float("inf")):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    _fits_float32(name, value)


def _is_number(value: object) -> bool:
    """True where torch multiplies by a value; it does not by fractions."""
    return isinstance(value, Real) and not isinstance(value, (bool, Fraction))


def _fits_float32(name: str, value: float) -> None:
    if abs(value if isinstance(value, int) else float(value)) > LARGEST:
        raise ValueError(
            f"{name} must be at most {LARGEST:.3g} in size, as for float32, got {_size(value)}"
        )


def _size(value: float) -> str:
    """A number, or how long it is where its digits would fill pages."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return repr(value)


def floats(rule: Any, *names: str, kind: type = float) -> None:
    """Make numbers of a frozen dataclass floats: an integer would be a constant of a graph."""
    for name in names:
        if (value := getattr(rule, name)) is not None:
            object.__setattr__(rule, name, kind(value))


integers = partial(floats, kind=int)
"""Make integers of a frozen dataclass those of Python, which torch and JSON ask for."""


def embedding_matrix(name: str, embeddings: Tensor) -> None:
    """Raise unless ``embeddings`` is a floating-point (N, D) tensor without NaN or Inf."""
    float_matrix(name, embeddings)
    # A branch on values cannot be traced, and a compiled step has its inputs checked by no one.
    if torch.compiler.is_compiling() or embeddings.numel() == 0:
        return
    # The sum is a quick look: it is finite only if all are, unless it overflows.
    embeddings = embeddings.detach()
    if not host_can_read(embeddings) or not math.isfinite(embeddings.sum().item()):
        say = "{name} must be finite, got NaN or Inf in {bad} of {all} rows (first: row {first})"
        finite_values(largest_of_rows(embeddings), say, name=name)


def largest_of_rows(matrix: Tensor) -> Tensor:
    """The largest entry in size of each row, (N,)."""
    return torch.linalg.vector_norm(matrix, torch.inf, dim=1)


def finite_values(values: Tensor, message: str, offset: int = 0, **words: object) -> None:
    """Raise a ValueError unless values (N,) are finite; later, where that would wait.

    ``message``: with {bad} and {all}, the numbers of values, {first}, the place of the first bad
    one after an ``offset``, {value} and {dtype}, and what ``words`` name.
    """
    is_here = host_can_read(values)
    if is_here and math.isfinite(values.sum().item()):  # the usual case, and quick
        return
    problem = partial(_not_finite, message, {"dtype": values.dtype, **words}, offset)
    if not is_here:
        report(values, problem)
    elif (error := problem(values.cpu())) is not None:
        raise error


def _not_finite(
    message: str, words: dict[str, Any], offset: int, values: Tensor
) -> ValueError | None:
    numbers = values.double().numpy()
    bad = ~np.isfinite(numbers)
    if not bad.any():
        return None
    first, value = bad.argmax(), numbers[bad][0]
    text = message.format(bad=bad.sum(), all=len(bad), first=offset + first, value=value, **words)
    return ValueError(text)


def finite_similarities(sim: Tensor, first_anchor: int) -> None:
    """Raise for similarities (C, M) that are not finite; later, where that would wait.

    ``first_anchor``: the number of the first row.
    """
    say = (
        "embeddings must have finite similarities, got NaN or Inf for {bad} of {all} anchors "
        "(first: anchor {first}): inner products too large for {dtype}; "
        "normalize the embeddings, or scale them down"
    )
    if host_can_read(sim) and math.isfinite(sim.sum().item()):  # the quickest look
        return
    finite_values(largest_of_rows(sim), say, offset=first_anchor)


def float_matrix(name: str, embeddings: Tensor) -> None:
    """Raise unless ``embeddings`` is a floating-point (N, D) tensor; looks at no value."""
    if not isinstance(embeddings, Tensor):
        texts = isinstance(embeddings, list) and embeddings and isinstance(embeddings[0], Mapping)
        hint = f", features of sentence-transformers: {WRAPPER} takes them" if texts else ""
        raise ValueError(f"{name} must be a torch.Tensor, got {type(embeddings).__name__}{hint}")
    dense(name, embeddings)
    if not torch.compiler.is_compiling() and _is_transformed(embeddings):
        raise ValueError(
            f"{name} must be a plain tensor, got one inside a transform of torch.func (grad, vmap, "
            "jvp, …): use torch.autograd.grad, or a weighting's own losses(sim, pos, neg)"
        )
    if embeddings.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), got {tuple(embeddings.shape)}")
    if not embeddings.is_floating_point():
        raise ValueError(f"{name} must be floating point, got {embeddings.dtype}")
    if embeddings.dtype not in FLOATS:
        raise ValueError(
            f"{name} must be floating point of 16, 32 or 64 bits, got {embeddings.dtype}"
        )


def _is_transformed(tensor: Tensor) -> bool:
    """True where a transform of torch.func is at work, which cannot see our gradients."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def dense(name: str, tensor: Tensor) -> None:
    """Raise unless ``tensor`` is strided: not in a sparse layout, not nested."""
    if tensor.is_nested:
        raise ValueError(f"{name} must be a dense tensor, got a nested one")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense tensor, got the layout {tensor.layout}")


def with_values(name: str, tensor: Tensor) -> None:
    """Raise unless the entries of ``tensor`` are all there: dense, and not on meta."""
    dense(name, tensor)
    if tensor.is_meta:
        raise ValueError(f"{name} must hold values, got a tensor on the meta device")


def similarity_rows(sim: Tensor, pos: Tensor, neg: Tensor) -> None:
    """Raise unless ``sim`` (C, M) holds numbers and ``pos`` and ``neg`` (C, M) are masks of it."""
    if not isinstance(sim, Tensor) or sim.ndim != 2 or not sim.is_floating_point():
        raise ValueError(f"sim must be a floating-point tensor (C, M), got {described(sim)}")
    for name, mask in (("pos", pos), ("neg", neg)):
        boolean_matrix(name, mask, (sim.shape[0], sim.shape[1]))
    if not torch.compiler.is_compiling() and bool(sim.isnan().any()):
        raise ValueError(f"sim must be numbers, got NaN in {int(sim.isnan().sum())} places")


def described(value: object) -> str:
    """The dtype and shape of a tensor, or the type of another object, for errors."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__


def integer_labels(
    name: str, labels: Tensor, length: int, device: torch.device | None = None
) -> Tensor:
    """``labels`` as a (length,) int64 tensor, on a device.

    Floating-point labels pass when they hold integers that their dtype represents exactly.
    """
    if not isinstance(labels, Tensor):
        raise ValueError(f"{name} must be a torch.Tensor, got {type(labels).__name__}")
    dense(name, labels)
    if labels.shape != (length,):
        raise ValueError(
            f"{name} must have shape ({length},), one label per embedding, "
            f"got {tuple(labels.shape)}"
        )
    if labels.is_complex() or (labels.is_floating_point() and labels.dtype not in FLOATS):
        raise ValueError(f"{name} must be integers, got {labels.dtype}")
    if labels.is_floating_point() and not torch.compiler.is_compiling():
        exact_below = 2.0 / torch.finfo(labels.dtype).eps
        refuse_unless(
            ((labels == labels.round()) & (labels.abs() < exact_below)).all(),
            f"{name} must be integers, got {labels.dtype} values that are not integers "
            f"or too large for {labels.dtype} to tell apart",
        )
    return labels.long() if device is None else moved(name, labels.long(), device)


def indices(name: str, index: object, length: int | None = None) -> None:
    """Raise unless ``index`` is a tensor of integers of one dimension, of this length if given."""
    if not isinstance(index, Tensor) or index.dtype not in INTEGERS:
        raise ValueError(f"{name} must be a tensor of integers, got {described(index)}")
    dense(name, index)
    if index.ndim != 1 or length not in (None, len(index)):
        wanted = "of one dimension" if length is None else f"({length},), one per embedding"
        raise ValueError(f"{name} must be {wanted}, got {tuple(index.shape)}")


def moved(name: str, tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` on a device; ValueError where its values cannot be had there."""
    if tensor.is_meta and device.type != "meta":
        raise ValueError(f"{name} must hold values for embeddings on {device}, got a meta tensor")
    return tensor.to(device)


def refuse_unless_in_range(name: str, values: Tensor, lowest: int, end: int) -> None:
    """Raise unless the integers lie in [lowest, end), end excluded; later where that would wait."""
    problem = partial(_out_of_range, name, lowest, end)
    extremes = torch.stack(values.aminmax())
    if not host_can_read(extremes):
        report(extremes, problem)
    elif (error := problem(extremes.cpu())) is not None:
        raise error


def _out_of_range(name: str, lowest: int, end: int, extremes: Tensor) -> ValueError | None:
    least, most = extremes.numpy()
    if lowest <= least and most < end:
        return None
    return ValueError(f"{name} must lie in [{lowest}, {end}), got {least} to {most}")


def refuse_unless(allowed: Tensor, message: str) -> None:
    """Raise a ValueError unless ``allowed`` () is True; later where that would wait."""
    if not host_can_read(allowed):
        report(allowed, lambda value: None if value.numpy() else ValueError(message))
    elif not bool(allowed):
        raise ValueError(message)


def boolean_mask(name: str, mask: Tensor, length: int) -> None:
    """Raise unless ``mask`` is a (length,) tensor of booleans."""
    if isinstance(mask, Tensor):
        dense(name, mask)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (length,):
        raise ValueError(f"{name} must be a tensor of ({length},) booleans, got {described(mask)}")


def number_range(name: str, value: Any) -> None:
    """Raise unless ``value`` is None or two finite numbers, the smaller one first."""
    if value is None:
        return
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if not (pair and all(_is_number(v) and abs(v) < float("inf") for v in value)):
        raise ValueError(f"{name} must be None or two finite numbers, got {value!r}")
    for number in value:
        _fits_float32(name, number)
    if value[0] > value[1]:
        raise ValueError(f"{name} must be (smallest, largest), got {value!r}")


def one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise unless ``value`` is one of the names."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def instance(name: str, value: object, kind: type) -> None:
    """Raise unless ``value`` is an object of a class."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {shown(name, value)}")


def shown(name: str, value: Any) -> str:
    """A value for the error of an argument, its class with its module, and what belongs there."""
    kind = type(value)
    if isinstance(value, torch.nn.Module):
        part = getattr(value, name, None)
        return f"{kind.__module__}.{kind.__name__}" + (part is not None) * f": give its {part!r}"
    if name in ("loss", "miner") and hasattr(value, "for_negated_distances"):
        return f"{value!r}: give {'GPWLoss' if hasattr(value, 'weigh') else 'PairMiner'}({value!r})"
    return repr(value) if kind.__module__ == "builtins" else f"{value!r} of {kind.__module__}"


def multi_hot(name: str, labels: Tensor) -> None:
    """Raise unless ``labels`` (N, L) hold a 0 or 1 for each item and label."""
    if labels.ndim != 2 or labels.is_complex():
        raise ValueError(
            f"{name} must be multi-hot, a 0 or 1 for each item and label (N, L), got "
            f"{described(labels)}; numbers of classes need no relation"
        )
    if labels.dtype is not torch.bool and not torch.compiler.is_compiling():
        is_hot = ((labels == 0) | (labels == 1)).all()
        refuse_unless(is_hot, f"{name} must be multi-hot, of 0 and 1 only, got other values")


def boolean_matrix(name: str, matrix: Any, shape: tuple[int, int], verb: str = "be") -> None:
    """Raise unless ``matrix`` is a tensor of booleans of that shape."""
    _matrix(name, matrix, shape, verb, "booleans", (torch.bool,))


def relation_matrix(name: str, matrix: Any, shape: tuple[int, int], verb: str = "be") -> None:
    """Raise unless ``matrix`` is a tensor of that shape, of booleans or of grades >= 0 or NaN."""
    kinds = (torch.bool, *FLOATS)
    _matrix(name, matrix, shape, verb, "booleans, or of floating-point grades", kinds)
    if matrix.is_floating_point() and matrix.numel() and not torch.compiler.is_compiling():
        allowed = ~(matrix < 0).any()
        refuse_unless(allowed, f"{name} must {verb} grades >= 0 or NaN, got some below 0")


def _matrix(
    name: str, matrix: Any, shape: tuple[int, int], verb: str, what: str, kinds: tuple[Any, ...]
) -> None:
    if isinstance(matrix, Tensor):
        dense(name, matrix)
    if not isinstance(matrix, Tensor) or matrix.dtype not in kinds or matrix.shape != shape:
        got = described(matrix)
        raise ValueError(f"{name} must {verb} a tensor of {shape} {what}, got {got}")


def optional_positive_integer(name: str, value: Any) -> None:
    """Raise unless ``value`` is None or an integer > 0 that int64 holds."""
    if value is not None:
        positive_integer(name, value)


def optional_boolean(name: str, value: object) -> None:
    """Raise unless ``value`` is None, True or False."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} must be None, True or False, got {value!r}")


def module_like(name: str, value: object) -> None:
    """Raise unless ``value`` is None or an object that can be called, such as a module."""
    if isinstance(value, type):
        raise ValueError(f"{name} must be an object, got the class {value.__name__}")
    if value is not None and (not callable(value) or hasattr(value, "for_negated_distances")):
        raise ValueError(f"{name} must be an object that can be called, got {shown(name, value)}")
