"""The common ground of weightings and minings: values of which methods belong together."""

import copy
import re
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from .. import checks


def newest_of(cls: type, base: type, names: tuple[str, ...]) -> str | None:
    """The method of several that a class overrides last, by name; "" where it overrides them all.

    Of methods that follow from each other the one that is defined in the most derived class is
    what was meant. None: all are those of ``base``.

    >>> class Base: one = two = None
    >>> class Both(Base): one = two = 1
    >>> class Other(Both): two = 2
    >>> newest_of(Base, Base, ("one", "two")), newest_of(Other, Base, ("one", "two"))
    (None, 'two')
    """
    depth = {name: _depth(cls, name) for name in names}
    least = min(depth.values())
    if least >= cls.__mro__.index(base):
        return None
    newest = [name for name in names if depth[name] == least]
    return newest[0] if len(newest) == 1 else ""


def _depth(cls: type, name: str) -> int:
    """The number of classes that lie between a class and the one that defines an attribute."""
    return next(i for i, parent in enumerate(cls.__mro__) if name in vars(parent))


def declared_uses(cls: Any) -> None:
    """Let the attribute ``uses`` of a rule be read and declared by its former name as well."""
    for name, other in (("similarities", "uses"), ("uses", "similarities")):
        if name in vars(cls) and other not in vars(cls):
            setattr(cls, other, getattr(cls, name))


def checked_rule(name: str, rule: object, kind: type) -> None:
    """Raise a ValueError unless ``rule`` is a frozen dataclass of a kind, without tensors.

    >>> from pml_gpw.weightings import MultiSimilarity, PairWeighting
    >>> checked_rule("weighting", MultiSimilarity(), PairWeighting)
    """
    if not isinstance(rule, kind):
        got = checks.shown(name, rule)
        raise ValueError(f"{name} must be a {kind.__name__} (a frozen dataclass), got {got}")
    if not is_dataclass(rule) or not getattr(rule, "__dataclass_params__").frozen:  # noqa: B009
        raise ValueError(
            f"{name} must be a frozen dataclass: put @dataclass(frozen=True) above the class "
            f"{type(rule).__name__}, got {rule!r}"
        )
    refuse_tensors(name, rule)


def refuse_tensors(name: str, rule: object) -> None:
    """Raise a ValueError for a rule that holds a tensor, which would get no gradient."""
    if torch.compiler.is_compiling():  # torch 2.5 cannot trace what follows
        return
    for field, value in getattr(rule, "__dict__", {}).items():
        if isinstance(value, Tensor):
            raise ValueError(
                f"{name} must hold numbers, got a {type(value).__name__} as {field} of "
                f"{type(rule).__name__}, which nothing would train: give a number, and name the "
                f"field in trainable=({field!r},) of the loss to train it"
            )


Positive = Annotated[float, "positive"]
"""Annotates a field that is always positive, such as a temperature, and is trained by its
logarithm."""


def is_positive(rule: Any, name: str) -> bool:
    """True where a field is annotated ``Positive``."""
    kind = {field.name: field.type for field in fields(rule)}[name]
    if isinstance(kind, str):
        return re.search(r"\bPositive\b", kind) is not None
    return "positive" in getattr(kind, "__metadata__", ())


def number_fields(rule: Any) -> list[str]:
    """The names of the fields that hold numbers.

    >>> from pml_gpw.weightings import LiftedStructure
    >>> number_fields(LiftedStructure(margin=None))
    ['alpha', 'beta']
    """
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return [k for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]


def float_fields(rule: Any) -> dict[str, float]:
    """The fields of a frozen rule that are annotated as floats and hold one.

    >>> from pml_gpw.weightings import Contrastive
    >>> float_fields(Contrastive(margin=0.5))
    {'margin': 0.5}
    """
    if not getattr(getattr(rule, "__dataclass_params__", None), "frozen", False):
        return {}
    values = {
        f.name: getattr(rule, f.name)
        for f in fields(rule)
        if "float" in str(f.type) or is_positive(rule, f.name)
    }
    return {name: value for name, value in values.items() if isinstance(value, float)}


def twin_of(rule: Any, tensors: dict[str, Tensor]) -> Any:
    """A copy of a rule with tensors as some of its fields, to compute with.

    It is made without ``__init__`` and ``__post_init__``, and nothing compares, hashes or prints
    it. Without tensors it is the rule itself.
    """
    twin = copy.copy(rule) if tensors else rule
    for name, tensor in tensors.items():
        object.__setattr__(twin, name, tensor)
    return twin
