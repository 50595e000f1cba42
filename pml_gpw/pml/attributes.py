"""Attributes of PML modules that are checked when set: numbers, and fields of frozen values."""

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
    those that are known beforehand), are recorded by PML's logging as such, and are part of
    ``state_dict``. Statistics follow ``collect_stats`` as it is now and not as it was at
    construction.

    >>> from pml_gpw import GPWLoss
    >>> from pml_gpw.weightings import Contrastive
    >>> loss = GPWLoss(Contrastive(margin=0.3))
    >>> loss.margin, loss.state_dict()["_extra_state"]["weighting"]
    (0.3, {'type': 'Contrastive', 'fields': {'margin': 0.3}})
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

    def get_extra_state(self) -> dict[str, dict[str, Any] | None]:
        """The values as plain data, so that ``torch.load(weights_only=True)`` reads it."""
        return {holder: _as_plain(self.__dict__[holder]) for holder in self.config_types}

    def set_extra_state(self, state: Any) -> None:
        """Restore the hyper-parameters; ValueError, and nothing changes, for those of another
        weighting or mining and for what is no state."""
        for holder, value in self._restored(state).items():
            setattr(self, holder, value)

    def _restored(self, state: Any) -> dict[str, Any]:
        """The values that a state holds, by attribute. Errors: as :meth:`set_extra_state`."""
        names = set(self.config_types)
        if not isinstance(state, dict) or set(state) != names:
            raise ValueError(
                f"state_dict must hold {' and '.join(self.config_types)} as _extra_state of "
                f"{type(self).__name__}, got {_keys_or_type(state)}"
            )
        values = {}
        for holder, saved in state.items():
            own: Any = self.__dict__.get(holder)
            if _kind(_as_plain(own)) != _kind(saved):
                raise ValueError(
                    f"state_dict must hold the {holder} {_shown(_as_plain(own))}, "
                    f"got {_shown(saved)}"
                )
            values[holder] = own if saved is None else replace(own, **saved["fields"])
        return values

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        check_states(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[misc]

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


def _kind(plain: Any) -> tuple[Any, set[str]] | None:
    """What two states of one kind have in common; of no state it is that of nothing."""
    if plain is None:
        return None
    if not isinstance(plain, dict) or not isinstance(plain.get("fields"), dict):
        return None, set()
    return plain.get("type"), set(plain["fields"])


def _shown(plain: Any) -> str:
    """A state without the values of its fields."""
    kind, names = _kind(plain) or (None, set())
    return repr(plain) if kind is None else f"{kind}({', '.join(sorted(map(str, names)))})"


def _keys_or_type(state: Any) -> str:
    return str(list(state)) if isinstance(state, dict) else type(state).__name__


def check_states(module: Any, state_dict: dict[str, Any], prefix: str) -> None:
    """ValueError where a state of ``module`` or of a module in it is none that can be restored.

    torch restores one module after the other: what is wrong with a later one has to be known
    before the first changes.

    >>> from pml_gpw import MSLoss
    >>> check_states(MSLoss(), {"_extra_state": None}, "")
    Traceback (most recent call last):
    ValueError: state_dict must hold weighting and mining as _extra_state of MSLoss, got NoneType
    """
    for name, part in module.named_modules():
        key = f"{prefix}{name}{'.' if name else ''}_extra_state"
        if isinstance(part, ConfigFields) and key in state_dict:
            part._restored(state_dict[key])
