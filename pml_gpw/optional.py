"""Optional dependencies: packages that only some parts of this package need."""

import importlib
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


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


def progress(items: Iterable[T], what: str, delay: float = 0) -> Iterable[T]:
    """The items, with a bar of progress after ``delay`` seconds where tqdm is installed.

    >>> list(progress([1, 2], "counting", delay=60))
    [1, 2]
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    bar: Iterable[T] = tqdm(items, what, leave=False, delay=delay)
    return bar
