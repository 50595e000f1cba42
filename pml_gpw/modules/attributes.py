"""Hyper-parameters of a module as its attributes: checked when set, fields of frozen values."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import partial
from inspect import signature
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar

from torch import nn

from .. import checks
from ..engine.plan import LAYOUTS
from ..engine.similarity import SIMILARITIES
from ..mining.check import refuse_changes_in_place
from ..relations import WeightedRelations
from ..weightings.rules import checked_rule


def checked_relation(name: str, value: Any) -> None:
    """Raise a ValueError for what is neither None nor a relation of labels."""
    if value is not None and (isinstance(value, (type, nn.Module)) or not callable(value)):
        raise ValueError(f"{name} must be a function of labels, and no module, got {value!r}")


def checked_relations(name: str, value: Any) -> None:
    """Raise a ValueError for what is neither None, nor a relation of labels, nor several."""
    if not isinstance(value, WeightedRelations):
        checked_relation(name, value)


Checks = Mapping[str, Callable[[str, Any], None]]
SHARED_CHECKS: Checks = MappingProxyType(
    {
        "chunk_size": checks.optional_positive_integer,
        "layout": partial(checks.one_of, allowed=LAYOUTS),
        "similarity": partial(checks.one_of, allowed=SIMILARITIES),
    }
)
"""Of attributes that losses and miners have."""


class ConfigFields:
    """Mixin for modules that hold frozen dataclasses; put it before ``torch.nn.Module``.

    ``config_types`` names the attributes that hold such a value and the types each may have. The
    fields of whatever is held read and set as attributes of the module; setting one replaces the
    value, so that the value's own checks apply. They are no part of ``state_dict``, so that
    checkpoints pass between PML's modules and these. ``checked`` has a function
    ``check(name, value)`` for other attributes, which raises a ValueError.

    >>> from pml_gpw.modules import GPWLoss
    >>> from pml_gpw.weightings import Contrastive
    >>> loss = GPWLoss(Contrastive(margin=0.3))
    >>> loss.margin = 0.4
    >>> loss.weighting.margin, loss.state_dict()
    (0.4, OrderedDict())
    >>> loss.chunk_size = 2.5
    Traceback (most recent call last):
    ValueError: chunk_size must be an integer > 0, got 2.5
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {}
    checked: ClassVar[Checks] = SHARED_CHECKS
    named_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that are known beforehand, which cannot be set where nothing has them."""

    def config_fields(self) -> dict[str, str]:
        """The name of each field and of the attribute that holds it."""
        own = self.__dict__
        return {
            field.name: holder
            for holder in self.config_types
            if own.get(holder) is not None
            for field in fields(own[holder])
            # A field whose name the module uses otherwise stays reachable through its holder.
            if not hasattr(type(self), field.name)
            and field.name not in own
            and field.name not in own["_modules"]
        }

    def __getattr__(self, name: str) -> Any:
        trained = self.__dict__.get("trained", ())
        if any(field.name == name for field in trained):  # before a parameter of the same name
            return self.field_value("weighting", name)
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            holder = self.config_fields().get(name)
            if holder is None:
                raise
            return self.field_value(holder, name)

    def field_value(self, holder: str, name: str) -> Any:
        """The value of a field of what an attribute holds."""
        return getattr(self.__dict__[holder], name)

    def set_field(self, holder: str, name: str, value: Any) -> None:
        """Set a field of what an attribute holds, by a new value of the attribute."""
        setattr(self, holder, replace(self.__dict__[holder], **{name: value}))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.checked:
            self.checked[name](name, value)
        elif name in self.config_types:
            self._check(name, value)
        elif name in self.__dict__:  # no field, since those stand in their holder
            pass
        elif holder := self.config_fields().get(name):
            self.set_field(holder, name, value)
            return
        elif name in self.named_fields:
            held = ", ".join(f"{each} is {self.__dict__[each]!r}" for each in self.config_types)
            raise AttributeError(f"{name} cannot be set: {held}")
        super().__setattr__(name, value)

    def _check(self, holder: str, value: Any) -> None:
        kind, *others = self.config_types[holder]
        if not others or value is not None:
            checked_rule(holder, value, kind)
            refuse_changes_in_place(value)

    def extra_repr(self) -> str:
        """The held values, for ``repr``."""
        return ", ".join(str(self.__dict__[holder]) for holder in self.config_types)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # States of 0.2 have hyper-parameters, which belong to the code that made the module.
        saved = state_dict.pop(f"{prefix}_extra_state", None)
        if isinstance(saved, dict):
            self._warn_of_other_values(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]

    def _warn_of_other_values(self, saved: dict[str, Any]) -> None:
        own = {holder: _as_plain(self.__dict__[holder]) for holder in self.config_types}
        others = [name for name in own if name in saved and saved[name] != own[name]]
        if others:
            kept, were = ([_shown(state[name]) for name in others] for state in (own, saved))
            warnings.warn(
                f"{type(self).__name__} stays with {' and '.join(kept)}; the state_dict is of "
                f"{' and '.join(were)}",
                stacklevel=3,
            )


OF_HOSTS = {"collect_stats", "distance", "embedding_regularizer", "embedding_reg_weight", "reducer"}


def refuse_unknown(module: object, options: Mapping[str, Any]) -> None:
    """Raise a ValueError for an option that no class of a module has as an argument.

    >>> refuse_unknown(None, {"reduced": None})
    Traceback (most recent call last):
    ValueError: reduced must not be given to NoneType, which has no such argument: is reducer meant?
    """
    inits = (vars(cls).get("__init__") for cls in type(module).__mro__)
    named = (signature(init).parameters for init in inits if isinstance(init, FunctionType))
    known = OF_HOSTS.union(*named) - {"self", "args", "kwargs", "options"}
    for option in options:
        if option not in known:
            near = get_close_matches(option, sorted(known), 1, 0.5)
            hint = f": is {near[0]} meant?" if near else ""
            raise ValueError(
                f"{option} must not be given to {type(module).__name__}, which has no such "
                f"argument{hint}"
            )


def refuse_options(module: object, options: Mapping[str, Any]) -> None:
    """Raise a ValueError for unknown options, and those that only the modules of a host have.

    >>> refuse_options(None, {"reducer": None})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: reducer must not be given to NoneType, which knows nothing of ...
    """
    refuse_unknown(module, options)
    if options:
        raise ValueError(
            f"{', '.join(options)} must not be given to {type(module).__name__}, which knows "
            "nothing of pytorch-metric-learning: its distances, reducers and statistics come with "
            'the extra, pip install "pml-gpw[pml]"'
        )


def _as_plain(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    plain = {field.name: getattr(value, field.name) for field in fields(value)}
    return {"type": type(value).__name__, "fields": plain}


def _shown(plain: Any) -> str:
    """A value of a state as its class would show it."""
    if not isinstance(plain, dict) or not isinstance(plain.get("fields"), dict):
        return repr(plain)
    values = ", ".join(f"{name}={value!r}" for name, value in plain["fields"].items())
    return f"{plain.get('type')}({values})"
