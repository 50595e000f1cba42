"""The names that PML's logging records of a module with hyper-parameters, and its statistics."""

from ...modules.attributes import ConfigFields


class Records(ConfigFields):
    """Mixin before a PML module: fields of what it holds are recorded as its attributes.

    Statistics follow ``collect_stats`` as it is now and not as it was at construction.
    """

    collect_stats: bool

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
        return [*self.__dict__.get("_attribute_names", []), *self.config_fields()]

    @property
    def _record_these_stats(self) -> list[str]:
        return self.__dict__.get("_stat_names", []) if self.collect_stats else []
