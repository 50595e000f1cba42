import pytest

from .processes import Processes


@pytest.fixture(scope="session", params=[2, 3, 4], ids="{}-processes".format)
def processes(request, tmp_path_factory):
    pool = Processes(request.param, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()
