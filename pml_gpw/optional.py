"""Packages that only some users need."""

import importlib
from typing import Any


def optional(module: str, extra: str) -> Any:
    """Import ``module``, or say which extra of this package brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'{package} is needed here and not installed: pip install "pml-gpw[{extra}]"'
        ) from error
