"""The options that all evaluations share, checked."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .. import checks
from .backends import BACKENDS, import_faiss
from .measures import MEASURES
from .similarity_kinds import SIMILARITY_KINDS

DEFAULT = ("recall_at_k", "r_precision", "map_at_r")


@dataclass
class Options:
    """The options of an evaluation, or a ValueError that names the argument at fault.

    ``relevant`` and ``ignore`` are as the user gave them.
    """

    ks: Iterable[int]
    backend: str = "auto"
    metric: str = "cosine"
    metrics: Sequence[str] = DEFAULT
    relevant: Any = None
    ignore: Any = None

    def __post_init__(self) -> None:
        check_backend_and_metric(self.backend, self.metric)
        names = (self.metrics,) if isinstance(self.metrics, str) else (*self.metrics,)
        if not names or any(name not in [*MEASURES] for name in names):
            raise ValueError(
                f"metrics must be names out of {sorted(MEASURES)}, got {self.metrics!r}"
            )
        needs_ks = any(MEASURES[name].depth == "k" for name in names)
        self.ks, self.metrics = checked_ks(self.ks) if needs_ks else (), names


def checked_ks(ks: Iterable[int]) -> tuple[int, ...]:
    """The different K of ``ks`` in their order, or a ValueError unless all are integers >= 1."""
    try:
        given = [*ks]
        values = [operator.index(k) for k in given if not isinstance(k, bool)]
    except TypeError:
        raise ValueError(f"ks must be integers >= 1, as in (1, 5), got {ks!r}") from None
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
    """Raise unless both are known names, and what they need is there: better now than later."""
    checks.one_of("backend", backend, BACKENDS)
    if backend == "faiss":
        import_faiss()
    checks.one_of("metric", metric, SIMILARITY_KINDS)
