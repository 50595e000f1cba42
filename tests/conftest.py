import os
import warnings

# The suite runs in one process per core; more threads each would only fight for them. Before the
# first import of torch or faiss, which read it once.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import torch

from tests import environments

environments.enter(environments.current())

hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
hypothesis.settings.load_profile("suite")


def pytest_ignore_collect(collection_path, config):
    """Leave out what needs PML 2.9 where it is not there."""
    if environments.current() and environments.needs_pml(collection_path):
        return True
    return None


@pytest.fixture
def batch():
    """Twelve embeddings of four classes of three, in float32."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 6, generator=generator), torch.arange(12) // 3


@pytest.fixture(scope="module")
def eager_backend():
    """No test of a file compiles: graphs are run by torch itself."""
    from .runs import eager_compiler

    with eager_compiler():
        yield


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A group of two processes, with time to import large libraries."""
    from .distributed.processes import Processes

    pool = Processes(2, tmp_path_factory.mktemp("stores"), patience=240)
    yield pool
    pool.stop()


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
