"""Optional dependencies: packages that only some parts of this package need."""

import importlib
from typing import Any


def import_optional(module: str, extra: str) -> Any:
    """Import ``module``; the error for a missing package names the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{package} is needed here and not installed: pip install "pml-gpw[{extra}]"'
        ) from error
