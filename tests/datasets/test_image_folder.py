import pytest

from pml_gpw.datasets import ImageFolder

from . import miniatures
from .helpers import assert_refused

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_image_folder_split_by_its_owner(tmp_path):
    miniatures.image_folder(tmp_path / "all")
    names = sorted(path.name for path in (tmp_path / "all").iterdir() if path.name[0] != ".")
    for i, name in enumerate(names):
        split = "test" if i in (0, 3) else "train"
        (tmp_path / "own" / split).mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).rename(tmp_path / "own" / split / name)
    assert set(ImageFolder(tmp_path / "own", "test").classes.values()) == {"ash", "elm"}
    assert len(ImageFolder(tmp_path / "own", "train").classes) == 6
    (tmp_path / "own/train/ash").mkdir()
    miniatures.picture(tmp_path / "own/train/ash/1.png", 1, 1)
    with pytest.raises(
        ValueError, match=r"class 'ash' is in test and, by .*train.ash, in training"
    ):
        ImageFolder(tmp_path / "own", "test")


def test_image_folder_with_half_a_split(copy_of):
    _, root = copy_of("ImageFolder")
    (root / "val").mkdir()
    assert_refused(ImageFolder, root, f"{root} has val, but not train and test")


def test_miniature_roots_without_images_are_no_classes(copy_of):
    _, root = copy_of("ImageFolder")
    before = ImageFolder(root, "train").classes
    for name in ("__MACOSX", "aaa"):
        (root / name).mkdir()
    assert ImageFolder(root, "train").classes == before
