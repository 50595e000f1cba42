import pytest

from ..distributed.processes import Processes


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A group of two processes."""
    pool = Processes(2, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()
