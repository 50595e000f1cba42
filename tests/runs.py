"""A loss called once: value and gradient; graphs without a compiler; disks without room."""

from contextlib import contextmanager
from functools import partial

import pytest
import torch

from .tolerances import close


def run(loss, x, *args, **kwargs):
    x = x.clone().requires_grad_()
    value = loss(x, *args, **kwargs)
    value.backward()
    return value.detach(), x.grad


def close_runs(ours, theirs, tolerance=None):
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, tolerance)


def pairs_of_tuple(indices):
    a1, p, a2, n = (i.tolist() for i in indices)
    return set(zip(a1, p, strict=True)), set(zip(a2, n, strict=True))


@contextmanager
def eager_compiler():
    """Graphs are captured as ever and then run by torch itself, so that none takes seconds."""
    from pml_gpw.engine import compiled

    def forget():
        compiled._compiled_function.cache_clear()
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        yield
    forget()


@contextmanager
def room_for(size):
    """No file of this process may become larger than ``size`` bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
