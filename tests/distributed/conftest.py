import pytest

from .processes import Processes

EVERY_SIZE = [2, *(pytest.param(size, marks=pytest.mark.exhaustive) for size in (3, 4))]


@pytest.fixture(scope="session", params=EVERY_SIZE, ids="{}-processes".format)
def processes(request, tmp_path_factory):
    pool = Processes(request.param, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()
