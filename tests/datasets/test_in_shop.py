import pytest

from pml_gpw.datasets import InShop

from . import miniatures
from .helpers import ANNOTATION_FILES, assert_refused

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_in_shop_wherever_its_files_are(tmp_path):
    for i, (images, partition) in enumerate(
        [("img", "Eval"), ("img_highres", "Eval"), ("img", "."), ("Img/img", "Anno")]
    ):
        root = tmp_path / str(i)
        miniatures.in_shop(root, images, partition)
        data = InShop(root, "query")
        assert sorted(set(data.labels)) == [3, 4, 90, 7982]
        assert f"/{images}/WOMEN/Blouses Shirts/" in data.paths[0]
        assert {*InShop(root, "gallery").labels} == {*data.labels}


def test_the_file_of_celeba(copy_of):
    _, root = copy_of("InShop")
    path = root / ANNOTATION_FILES["InShop"]
    path.write_text("000001.jpg 0\n000002.jpg 0\n000003.jpg 1\n")
    assert_refused(InShop, root, f"{path} must begin with .*CelebA has another file")
    path.write_text("")
    assert_refused(InShop, root, f"{path} must begin with")


def test_in_shop_beside_an_empty_folder(copy_of):
    _, root = copy_of("InShop")
    (root / "img").rename(root / "img_highres")
    (root / "img").mkdir()
    assert "img_highres" in InShop(root, "query").paths[0]
