"""Optional dependencies: packages that only some parts of this package need."""

import importlib
from typing import Any


def import_optional(module: str, extra: str) -> Any:
    """Import ``module``; the error for a missing package names the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise not_installed(module.partition(".")[0], extra) from error


def not_installed(package: str, extra: str) -> ImportError:
    """The error for a missing ``package``, which names the extra that installs it."""
    return ImportError(
        f'{package} is needed here and not installed: pip install "pml-gpw[{extra}]"'
    )
