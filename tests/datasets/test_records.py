import os
from pathlib import Path

import pytest

from pml_gpw.datasets import ImageFolder, InShop

from .helpers import ANNOTATION_FILES, assert_refused, rewrite, some_image

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_missing_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    os.remove(path)
    if dataset is ImageFolder:
        assert path not in dataset(root, "test").paths
    else:
        assert_refused(dataset, root, f"{path} is missing")


def test_empty_image(miniature_copy):
    dataset, root = miniature_copy
    path = some_image(dataset, root)
    Path(path).write_bytes(b"")
    assert_refused(dataset, root, f"{path} is empty")


def test_the_same_image_under_another_number(copy_of):
    dataset, root = copy_of("CUB200")
    images, labels = (root / "CUB_200_2011" / f for f in ("images.txt", "image_class_labels.txt"))
    rewrite(images, lambda lines: [*lines, "41 " + lines[38].split(maxsplit=1)[1]])
    rewrite(labels, lambda lines: [*lines, "41 200"])
    assert_refused(dataset, root, rf"{images}, line \d+: .* is also in {images}, line 39")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("InShop", "id_00000003  query", "id_00000003  train"),
        ("StanfordOnlineProducts", " 11319 ", " 1 "),
    ],
)
def test_a_class_trained_and_tested(copy_of, name, old, new):
    dataset, root = copy_of(name)
    path = root / ANNOTATION_FILES[name]
    path.write_text(path.read_text().replace(old, new))
    assert_refused(dataset, root, f"{path}, line .* is in test and, by .*, in training")


def test_a_query_without_an_answer(copy_of):
    _, root = copy_of("InShop")
    path = root / ANNOTATION_FILES["InShop"]
    path.write_text(path.read_text().replace("id_00000003  gallery", "id_00000033  gallery"))
    assert_refused(InShop, root, f"{path}, line .*'id_00000003' has no image in the gallery")
