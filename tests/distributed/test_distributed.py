"""Two, three and four processes against one."""

import pytest

from . import checks
from .processes import Processes


@pytest.fixture(scope="module", params=[2, 3, 4], ids="{} processes".format)
def processes(request, tmp_path_factory):
    pool = Processes(request.param, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()


@pytest.mark.parametrize("name", checks.CHECKS)
def test_as_one_process(processes, name):
    processes.run(checks.__name__, name)
