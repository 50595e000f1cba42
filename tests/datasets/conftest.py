import shutil

import pytest

from .miniatures import MINIATURES


@pytest.fixture(scope="session")
def miniature_roots(tmp_path_factory):
    """The folder of each miniature, made once and not to be changed."""
    roots = {name: tmp_path_factory.mktemp("miniature") for name in MINIATURES}
    for name, (_, make) in MINIATURES.items():
        make(roots[name])
    return roots


@pytest.fixture(params=MINIATURES)
def miniature(request, miniature_roots):
    """(class, root) of each miniature, not to be changed."""
    return MINIATURES[request.param][0], miniature_roots[request.param]


@pytest.fixture
def copy_of(tmp_path, miniature_roots):
    """A function from the name of a miniature to (class, root) of a copy that a test may change."""

    def copy(name):
        root = shutil.copytree(miniature_roots[name], tmp_path / "copy")
        return MINIATURES[name][0], root

    return copy
