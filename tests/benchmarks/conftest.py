import multiprocessing
from functools import partial
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from benchmarks import scaling
from benchmarks.measure import stopwatch

from ..datasets.miniatures import MINIATURES, picture
from .small_runs import SMALL, run


@pytest.fixture(scope="session")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp("miniature") for name in MINIATURES}
    for name, (_, make) in MINIATURES.items():
        make(folders[name])
    return folders


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of 24 classes, each of nine pictures."""
    root = tmp_path_factory.mktemp("pictures") / "My pictures"
    for name, i in product(range(24), range(9)):
        picture(root / f"class {name:02}/{i}.png", name, i, file_format="PNG", size=(24, 24))
    return root


@pytest.fixture
def invoke(roots, tmp_path):
    """The paper's experiment in miniature."""

    def call(name, *options, output=tmp_path / "runs"):
        fixed = (name.partition(",")[0], "--root", roots[name], *SMALL, "--output", output)
        return run("paper", *fixed, *options)

    return call


@pytest.fixture
def quick_processes(monkeypatch):
    """Processes of the benchmarks' own, forked from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pml_gpw", "benchmarks.measure.steps", "benchmarks.scaling"])
    server = SimpleNamespace(get_context=lambda _: context)
    monkeypatch.setattr(stopwatch, "multiprocessing", server)
    start = partial(torch.multiprocessing.start_processes, start_method="forkserver")
    monkeypatch.setattr(scaling, "mp", SimpleNamespace(spawn=start))
