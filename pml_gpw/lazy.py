"""Names of a package that are imported when they are asked for (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

Exports = tuple[Callable[[str], Any], Callable[[], list[str]]]
NAMES_OF_PML = {"MultiSimilarityLoss": "MSWeightedLoss", "MultiSimilarityMiner": "MSMiner"}


def no_attribute(package: str, name: str) -> AttributeError:
    """The error for a name that a package does not have; a loss or miner with its place."""
    ours = NAMES_OF_PML.get(name, name)
    rooms = ("pml_gpw.losses", "pml_gpw.miners") if ours[:1].isupper() else ()
    found = [room for room in rooms if ours in importlib.import_module(room).__all__]
    hint = f": it is {found[0]}.{ours}" if found else ""
    return AttributeError(f"module {package!r} has no attribute {name!r}{hint}", name=name)


def lazy_names(package: str, names: Collection[str], find: Callable[[str], Any]) -> Exports:
    """``__getattr__`` and ``__dir__`` of a package whose public names ``find`` finds."""

    def get(name: str) -> Any:
        if name not in names:
            raise no_attribute(package, name)
        return find(name)

    return get, lambda: sorted({*vars(sys.modules[package]), *names})


def lazy_exports(package: str, modules: Mapping[str, str]) -> Exports:
    """The same of a package whose ``modules`` hold its public names.

    ``modules``: from each name to its module, relative to the package.
    """

    def find(name: str) -> Any:
        return getattr(importlib.import_module(f".{modules[name]}", package), name)

    return lazy_names(package, modules, find)
