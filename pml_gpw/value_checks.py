"""Checks of values that never make the host wait for an accelerator.

On a CPU a check reads values at once. Elsewhere what it needs is copied to the host without
blocking, and a later call, or a backward, raises the error when the copy has arrived.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

BY_DEVICE, EAGER, DEFERRED = "by device", "eager", "deferred"
_when: ContextVar[str] = ContextVar("when", default=BY_DEVICE)

Problem = Callable[[Tensor], Exception | None]
"""From values that have arrived on the host to the error that they mean, or None."""


class _Unseen(NamedTuple):
    call: int
    values: Tensor  # on the host, where they arrive some time
    arrived: Any  # an event of the device, or None for what is there already
    problem: Problem


MOST_UNSEEN = 64
"""More are looked at when the next one comes, where no call or backward has done so before."""

_unseen: deque[_Unseen] = deque()
_one_at_a_time = threading.Lock()
_calls = itertools.count(1)
_latest_call = 0


def host_can_read(tensor: Tensor) -> bool:
    """True where the host can read values without waiting for an accelerator.

    On a CPU, and anywhere inside :func:`eager_checks`.

    >>> host_can_read(torch.zeros(1))
    True
    """
    if torch.compiler.is_compiling():
        return False
    when = _when.get()
    return when is EAGER or (when is BY_DEVICE and tensor.is_cpu)


def begin_call() -> None:
    """Count a call, and raise what earlier calls have been found to be wrong with meanwhile."""
    global _latest_call
    if torch.compiler.is_compiling():
        return
    _latest_call = next(_calls)
    raise_arrived()


def report(values: Tensor, problem: Problem) -> None:
    """Have ``values`` looked at when they have arrived on the host, without waiting for them.

    Devices that cannot be asked whether they are done with something are only looked at inside
    :func:`eager_checks`.
    """
    if torch.compiler.is_compiling():
        return
    if len(_unseen) >= MOST_UNSEEN:
        raise_arrived()
    if values.device.type == "cpu":
        _unseen.append(_Unseen(_latest_call, values.detach(), None, problem))
        return
    runtime: Any = getattr(torch, values.device.type, None)
    if hasattr(runtime, "Event") and hasattr(runtime, "current_stream"):
        if _is_capturing(runtime):
            return
        host = values.detach().to("cpu", non_blocking=True)
        arrived = runtime.Event()
        arrived.record(runtime.current_stream(values.device))
        _unseen.append(_Unseen(_latest_call, host, arrived, problem))


def _is_capturing(runtime: Any) -> bool:
    """True while a graph is being captured, which holds no copy to the host."""
    capturing = getattr(runtime, "is_current_stream_capturing", None)
    return capturing is not None and bool(capturing())


def raise_arrived() -> None:
    """Raise the errors of values that have arrived, one a call; what has not is left for later."""
    _raise_first(wait=False)


def flush() -> None:
    """Wait for all values that are still to be looked at, and raise the first error.

    >>> flush()
    """
    _raise_first(wait=True)


def _raise_first(wait: bool) -> None:
    while _unseen:
        with _one_at_a_time:
            if not _unseen:
                return
            call, values, arrived, problem = _unseen[0]
            if arrived is not None:
                if wait:
                    arrived.synchronize()
                elif not arrived.query():
                    return
            _unseen.popleft()
        error = problem(values)
        if error is not None:
            _forget(call)
            raise type(error)(f"{error} (in call {call} of {_latest_call})")


def _forget(call: int) -> None:
    """Leave out what else is wrong with a call: one error is enough."""
    with _one_at_a_time:
        while _unseen and _unseen[0].call == call:
            _unseen.popleft()


@contextmanager
def eager_checks() -> Iterator[None]:
    """Inside it checks wait for values on every device; leaving it, without an error, flushes.

    It holds for the thread that enters it, and so not for a backward on an accelerator, which
    torch runs in others.

    >>> with eager_checks():
    ...     host_can_read(torch.zeros(1))
    True
    """
    token = _when.set(EAGER)
    try:
        yield
    finally:
        _when.reset(token)
    flush()


@contextmanager
def deferred_checks() -> Iterator[None]:
    """Inside it no check looks at values at once, on a CPU neither: what accelerators do.

    >>> with deferred_checks():
    ...     host_can_read(torch.zeros(1))
    False
    """
    token = _when.set(DEFERRED)
    try:
        yield
    finally:
        _when.reset(token)
