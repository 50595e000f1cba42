"""Files that the system refuses to let grow: what a full disk does, without one."""

from contextlib import contextmanager

import pytest


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
