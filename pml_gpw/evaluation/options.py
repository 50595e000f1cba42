"""Checks of the options that all evaluations share: ``ks``, ``backend`` and ``metric``."""

import operator
from collections.abc import Iterable
from typing import Any

import torch

from .backends import BACKENDS
from .similarity_kinds import SIMILARITY_KINDS


def checked_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The different K of ``ks`` in their order, or a ValueError unless all are integers >= 1."""
    try:
        given = [*ks]
        values = [operator.index(k) for k in given if not isinstance(k, bool)]
    except TypeError:
        raise ValueError(f"ks must be integers >= 1, got {ks!r}") from None
    if not given or len(values) < len(given) or min(values) < 1:
        raise ValueError(f"ks must be at least one integer >= 1, got {given!r}")
    return tuple(dict.fromkeys(values))


def check_ks_within(ks: Iterable[int], num_compared: int) -> None:
    """Raise unless every K is at most the number of references a query is compared with."""
    too_large = [k for k in ks if k > num_compared]
    if too_large:
        raise ValueError(
            f"ks must be at most {num_compared}, the number of references a query is compared "
            f"with, got {too_large}"
        )


def checked_device(device: Any) -> torch.device | None:
    """The device, None where None is given, or a ValueError."""
    try:
        return None if device is None else torch.device(device)
    except (TypeError, RuntimeError):
        raise ValueError(
            f"device must be None, a torch.device or its name, got {device!r}"
        ) from None


def check_backend_and_metric(backend: str, metric: str) -> None:
    """Raise unless both are known names."""
    _check_choice("backend", backend, BACKENDS)
    _check_choice("metric", metric, SIMILARITY_KINDS)


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in [*choices]:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}")
