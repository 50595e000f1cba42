"""The options that all evaluations share, checked."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from .backends import BACKENDS
from .measures import MEASURES
from .similarity_kinds import SIMILARITY_KINDS


class Options(NamedTuple):
    """What to compute, and how: the K, the back end, the similarity and the names of metrics."""

    ks: tuple[int, ...]
    backend: str
    metric: str
    names: tuple[str, ...]


def checked_options(ks: Iterable[int], backend: str, metric: str, names: Sequence[str]) -> Options:
    """The options, or a ValueError that names the argument at fault."""
    check_backend_and_metric(backend, metric)
    given = (names,) if isinstance(names, str) else (*names,)
    if not given or any(name not in [*MEASURES] for name in given):
        raise ValueError(f"metrics must be names out of {sorted(MEASURES)}, got {names!r}")
    needs_ks = any(MEASURES[name].depth == "k" for name in given)
    return Options(checked_ks(ks) if needs_ks else (), backend, metric, given)


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
