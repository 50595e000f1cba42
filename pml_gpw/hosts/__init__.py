"""The packages whose objects ours can be: pytorch-metric-learning 2, or none.

``host`` is "pml2" where pytorch-metric-learning 2 can be imported, else "torch": the plain modules.
A release 3 or another is left alone, and so is what it needs; a release 2 that is broken raises.
"""

import importlib
import sys
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

PACKAGE = "pytorch_metric_learning"


def found_host() -> str:
    """The name of the host that is there.

    >>> found_host() in ("pml2", "torch")
    True
    """
    try:
        package = importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:  # it is there, and broken
            raise
        return "torch"
    version = str(getattr(package, "__version__", ""))  # release 3 has none
    return "pml2" if version.startswith("2.") else "torch"


host = found_host()


def objects() -> Any:
    """The module with the losses, miners and memories of the host that is there.

    >>> objects().MSLoss(alpha=3).alpha
    3.0
    """
    return importlib.import_module("pml_gpw.hosts.pml2" if host == "pml2" else "pml_gpw.modules")


def object_of(name: str) -> Any:
    """A loss, miner or reducer by its name.

    Errors: ImportError that names the extra, for objects of PML alone where it is not there.
    """
    found = objects()
    if not hasattr(found, name):
        raise not_there(name)
    return getattr(found, name)


def not_there(name: str) -> ImportError:
    """The error for what only pytorch-metric-learning 2.9 makes possible."""
    return ImportError(
        f"{name} needs pytorch-metric-learning 2.9, which is not installed: "
        'pip install "pml-gpw[pml]"'
    )


def former_modules(package: str, places: Mapping[str, str]) -> None:
    """Let pickles of 0.2 find the classes of modules that were below ``package`` then.

    ``places``: from each such name to the module of :mod:`pml_gpw.hosts.pml2` that has its classes.
    """
    for name, place in places.items():
        alias = ModuleType(f"{package}.{name}", "Where pickles of 0.2 find their classes.")
        alias.__getattr__ = partial(_found_in, f"pml_gpw.hosts.pml2.{place}")  # type: ignore[method-assign]
        sys.modules[alias.__name__] = alias


def _found_in(module: str, name: str) -> Any:
    if name.startswith("__"):  # such as __path__, which says that it is a package
        raise AttributeError(name)
    return getattr(importlib.import_module(module), name)
