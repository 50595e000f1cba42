"""Attributes of PML modules that are checked when set: numbers, and fields of frozen values."""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar, Generic, TypeVar, overload

from typing_extensions import Self

from ..mining.check import refuse_changes_in_place
from ..weightings.rules import checked_rule

T = TypeVar("T")


class CheckedAttribute(Generic[T]):
    """An attribute of a module that ``check(name, value)`` refuses with a ValueError.

    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss(chunk_size=100)
    >>> loss.chunk_size = 2.5
    Traceback (most recent call last):
    ValueError: chunk_size must be an integer > 0, got 2.5
    """

    def __init__(self, check: Callable[[str, Any], None], default: T) -> None:
        self.check, self.default = check, default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, module: None, owner: type) -> Self: ...

    @overload
    def __get__(self, module: object, owner: type) -> T: ...

    def __get__(self, module: Any, owner: type) -> Any:
        return self if module is None else module.__dict__.get(self.name, self.default)

    def __set__(self, module: Any, value: T) -> None:
        self.check(self.name, value)
        module.__dict__[self.name] = value


class ConfigField(Generic[T]):
    """A field of a frozen value that a module holds, as a typed attribute of the module.

    Setting it replaces the value, so that the value's own checks apply.

    >>> from pml_gpw import MSLoss
    >>> loss = MSLoss()
    >>> loss.alpha = 3.0
    >>> loss.weighting
    MultiSimilarity(alpha=3.0, beta=50.0, base=0.5)
    """

    def __init__(self, holder: str) -> None:
        self.holder = holder

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, module: None, owner: type) -> Self: ...

    @overload
    def __get__(self, module: object, owner: type) -> T: ...

    def __get__(self, module: Any, owner: type) -> Any:
        return self if module is None else module.field_value(self.holder, self.name)

    def __set__(self, module: Any, value: T) -> None:
        held = module.__dict__[self.holder]
        if held is None or not hasattr(held, self.name):
            raise AttributeError(f"{self.name} cannot be set: {self.holder} is {held!r}")
        module.set_field(self.holder, self.name, value)


class ConfigFields:
    """Mixin for PML modules that hold frozen dataclasses; put it before the PML base class.

    ``config_types`` names the attributes that hold such a value and the types each may have. The
    fields of whatever is held read and set as attributes of the module (:class:`ConfigField` types
    those that are known beforehand) and are recorded by PML's logging as such. They are no part of
    ``state_dict``, so that checkpoints pass between PML's modules and these. Statistics follow
    ``collect_stats`` as it is now and not as it was at construction.

    >>> from pml_gpw import GPWLoss
    >>> from pml_gpw.weightings import Contrastive
    >>> loss = GPWLoss(Contrastive(margin=0.3))
    >>> loss.margin, loss.state_dict()
    (0.3, OrderedDict())
    """

    config_types: ClassVar[dict[str, tuple[type, ...]]] = {}

    def _config_fields(self) -> dict[str, str]:
        """The name of each field and of the attribute that holds it."""
        own = self.__dict__
        return {
            field.name: holder
            for holder in self.config_types
            if own.get(holder) is not None
            for field in fields(own[holder])
            # A field whose name the module uses otherwise stays reachable through its holder.
            if isinstance(getattr(type(self), field.name, None), ConfigField)
            or (
                not hasattr(type(self), field.name)
                and field.name not in own
                and field.name not in own["_modules"]
            )
        }

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("trained", ()):  # before a parameter of the same name
            return self.field_value("weighting", name)
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            holder = self._config_fields().get(name)
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
        if name in self.config_types:
            self._check(name, value)
        elif name in self.__dict__:  # no field, since those stand in their holder
            pass
        elif holder := self._config_fields().get(name):
            self.set_field(holder, name, value)
            return
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

    def add_to_recordable_attributes(
        self, name: str | None = None, list_of_names: list[str] | None = None, is_stat: bool = False
    ) -> None:
        """Remember names that PML's logging records, statistics also while none are collected."""
        remembered = self.__dict__.setdefault("_stat_names" if is_stat else "_attribute_names", [])
        for new in ([] if name is None else [name]) + list(list_of_names or ()):
            if new not in remembered:
                remembered.append(new)
            if not hasattr(self, new):
                setattr(self, new, 0)

    @property
    def _record_these(self) -> list[str]:
        return [*self.__dict__.get("_attribute_names", []), *self._config_fields()]

    @property
    def _record_these_stats(self) -> list[str]:
        return self.__dict__.get("_stat_names", []) if self.collect_stats else []


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
