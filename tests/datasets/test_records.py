import pytest

from pml_gpw.datasets import InShop

from .helpers import ANNOTATION_FILES, assert_refused

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


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
