from pathlib import Path

import pytest

from .helpers import some_image

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_truncated_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    with open(path, "rb+") as file:
        file.truncate(300)
    data = dataset(root, dataset.queries)
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        data[3]
    report = dataset.verify(root, progress=False)
    assert any(f"{path} cannot be read as an image" in p for p in report.problems)
    assert not any("cannot be read" in p for p in dataset.verify(root, decode=False).problems)


def test_file_that_is_no_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    Path(path).write_text("<html>404</html>")
    with pytest.raises(ValueError, match=f"{path} cannot be read as an image"):
        dataset(root, dataset.queries)[3]
