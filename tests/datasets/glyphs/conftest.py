import functools
import os

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

from pml_gpw.datasets.glyphs import Glyphs, construction

render_once = functools.cache(construction.render_candidates)


@pytest.fixture(scope="session")
def renderings():
    """Every candidate before look-alikes are left out: letters (C,), renderings, labels, faces."""
    return render_once()


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A folder with the data set in it, made once in a session, and the same for its workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "glyphs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(construction, "render_candidates", render_once)
        Glyphs(folder)
    return folder


@pytest.fixture(scope="session")
def train(root):
    return Glyphs(root, "train")


@pytest.fixture(scope="session")
def test(root):
    return Glyphs(root, "test")
