import pytest
from typer.testing import CliRunner

from ..datasets.miniatures import MINIATURES
from ..distributed.processes import Processes
from .kills import Server
from .small_runs import SMALL, app


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp("miniature") for name in MINIATURES}
    for name, (_, make) in MINIATURES.items():
        make(folders[name])
    return folders


@pytest.fixture
def invoke(roots, tmp_path):
    def call(dataset, *options, output=tmp_path / "runs"):
        root = ["--root", str(roots[dataset])] if dataset in roots else ["--root", "nowhere"]
        arguments = [
            dataset.partition(",")[0],
            *root,
            *SMALL,
            "--output",
            str(output),
            *map(str, options),
        ]
        return CliRunner().invoke(app, arguments)

    return call


@pytest.fixture(scope="session")
def server():
    """Forks trainings that are to be killed."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """A group of two processes."""
    pool = Processes(2, tmp_path_factory.mktemp("stores"))
    yield pool
    pool.stop()
