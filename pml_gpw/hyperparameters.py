"""Hyper-parameters of immutable values (a weighting, a mining) as attributes of a PML module."""

from dataclasses import fields, replace
from typing import Any


class Hyperparameters:
    """Mixin for PML modules that hold frozen dataclasses; put it before the PML base class.

    Each field reads and sets as an attribute of the module (``loss.alpha = 3`` replaces the
    weighting), is recorded by PML's logging as such, and is part of ``state_dict``. Statistics
    follow ``collect_stats`` as it is now and not as it was at construction.
    """

    def hold(self, holder: str, value: Any) -> None:
        """Keep ``value`` (a frozen dataclass or None) as attribute ``holder``."""
        setattr(self, holder, value)
        # A field whose name the module already uses stays reachable through its holder only.
        names = tuple(f.name for f in fields(value) if not hasattr(self, f.name)) if value else ()
        # Pairs and not a dict: PML's record keeper walks into every dict of a module.
        self._holders = (*self.__dict__.get("_holders", ()), (holder, names))
        self.add_to_recordable_attributes(list_of_names=list(names), is_stat=False)

    def _holder_of(self, name: str) -> str | None:
        holders = self.__dict__.get("_holders", ())
        return next((holder for holder, names in holders if name in names), None)

    def __getattr__(self, name: str) -> Any:
        holder = self._holder_of(name)
        if holder is None:
            return super().__getattr__(name)  # type: ignore[misc]
        return getattr(self.__dict__[holder], name)

    def __setattr__(self, name: str, value: Any) -> None:
        holder = self._holder_of(name)
        if holder is None:
            super().__setattr__(name, value)
        else:
            super().__setattr__(holder, replace(self.__dict__[holder], **{name: value}))

    def get_extra_state(self) -> dict[str, dict[str, Any] | None]:
        """The values as plain data, so that ``torch.load(weights_only=True)`` reads it."""
        return {holder: _as_plain(self.__dict__[holder]) for holder, _ in self._holders}

    def set_extra_state(self, state: dict[str, dict[str, Any] | None]) -> None:
        """Restore the hyper-parameters; ValueError if they are of another weighting or mining."""
        for holder, saved in state.items():
            value = self.__dict__.get(holder)
            own = _as_plain(value)
            if (own or {}).keys() != (saved or {}).keys() or (
                own and saved and own["name"] != saved["name"]
            ):
                raise ValueError(
                    f"state_dict must hold the {holder} {own and own['name']}, "
                    f"got {saved and saved['name']}"
                )
            if saved is not None:
                changes = {name: v for name, v in saved.items() if name != "name"}
                super().__setattr__(holder, replace(value, **changes))  # type: ignore[type-var]

    def add_to_recordable_attributes(
        self, name: str | None = None, list_of_names: list[str] | None = None, is_stat: bool = False
    ) -> None:
        """See PML's ``ModuleWithRecords``; statistics are remembered even while not collected."""
        if not is_stat:
            super().add_to_recordable_attributes(name, list_of_names, is_stat)  # type: ignore[misc]
            return
        stats = self.__dict__.setdefault("_stat_names", [])
        for stat in ([] if name is None else [name]) + list(list_of_names or ()):
            if stat not in stats:
                stats.append(stat)
                setattr(self, stat, 0)

    @property
    def _record_these_stats(self) -> list[str]:
        return self.__dict__.get("_stat_names", []) if self.collect_stats else []


def _as_plain(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"name": type(value).__name__} | {f.name: getattr(value, f.name) for f in fields(value)}
