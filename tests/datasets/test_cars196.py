import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pml_gpw.datasets import Cars196

from . import miniatures
from .helpers import assert_refused
from .miniatures import MINIATURES

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_both_layouts_of_cars_are_the_same_pictures(miniature_roots):
    def pictures(name, split):
        """Label and colour means of each picture that is not grey or transparent."""
        data = Cars196(miniature_roots[name], split)
        images = [
            (Image.open(path), label) for path, label in zip(data.paths, data.labels, strict=True)
        ]
        return sorted((y, *np.array(i).mean((0, 1))) for i, y in images if i.mode == "RGB")

    for split in ("train", "test"):
        retrieval, merged = (pictures(name, split) for name in MINIATURES if "Cars" in name)
        assert len({*retrieval} & {*merged}) >= len(retrieval) - 2


def test_annotations_of_classification_beside_the_kit_or_in_it(copy_of):
    dataset, root = copy_of("Cars196, classification")
    beside = root / "cars_test_annos_withlabels.mat"
    before = dataset(root, "test").paths
    beside.rename(root / "devkit" / beside.name)
    assert dataset(root, "test").paths == before


def test_cars_as_kaggle_packs_them(copy_of):
    """Each folder lies in another of its name, and the kit in one of its own."""
    dataset, root = copy_of("Cars196, classification")
    labels = dataset(root, "test").labels
    outer_folders = {"cars_train": "cars_train", "cars_test": "cars_test", "devkit": "car_devkit"}
    for name, outer in outer_folders.items():
        (root / name).rename(root / "moving")
        (root / outer).mkdir()
        (root / "moving").rename(root / outer / name)
    data = dataset(root, "test")
    assert data.labels == labels
    assert "cars_train/cars_train/" in data.paths[0]
    assert data[0][0].mode == "RGB"


@pytest.mark.parametrize("name", [name for name in MINIATURES if "Cars" in name])
def test_mat_files_that_cannot_be(copy_of, name):
    dataset, root = copy_of(name)
    path = sorted(root.rglob("*.mat"))[0]
    savemat(path, {"annotations": np.zeros(3), "class_names": np.zeros(3)})
    assert_refused(dataset, root, f"{path} must hold 'annotations' with the fields")
    path.write_bytes(b"<html>moved</html>" * 20)
    assert_refused(dataset, root, f"{path} cannot be read as a MATLAB file")


def test_test_annotations_without_classes_do_not_serve(copy_of):
    _, root = copy_of("Cars196, classification")
    path = root / "cars_test_annos_withlabels.mat"
    path.rename(root / "devkit/cars_test_annos.mat")
    assert_refused(Cars196, root, "root must hold .*cars_test_annos_withlabels.mat")


def test_cars_with_annotations_of_the_other_layout(copy_of, miniature_roots):
    _, root = copy_of("Cars196, classification")
    shutil.copy(miniature_roots["Cars196"] / "cars_annos.mat", root)
    assert "cars_train" in Cars196(root, "train").paths[0]


def two_cars(root, **changes):
    """Two images whose annotations are numbers in floating point, unless changed."""
    annotations = np.zeros((1, 2), dtype=[("relative_im_path", "O"), ("class", "O")])
    annotations["relative_im_path"][0, :] = "car_ims/1.jpg", "car_ims/2.jpg"
    annotations["class"][0, :] = 1.0, 99.0
    for field, value in changes.items():
        annotations[field][0, 1] = value
    for i in (1, 2):
        miniatures.picture(root / f"car_ims/{i}.jpg", 1, i)
    savemat(root / "cars_annos.mat", {"annotations": annotations})
    return root / "cars_annos.mat"


def test_class_ids_in_floating_point(tmp_path):
    two_cars(tmp_path)
    assert Cars196(tmp_path, "test").labels == [99]
    assert type(Cars196(tmp_path, "test").labels[0]) is int


@pytest.mark.parametrize(
    "class_id",
    [2.7, "x", -1.0, 0, 197, 19600.0, np.nan, np.inf, 1e300, np.array([1, 2]), "9" * 5000],
    ids=lambda value: str(value)[:5],
)
def test_a_class_id_that_is_none(tmp_path, class_id):
    path = two_cars(tmp_path, **{"class": class_id})
    assert_refused(Cars196, tmp_path, f"{path}, row 2: class must be an integer in 1..196, got ")


@pytest.mark.parametrize("image", [7.5, "", np.array([1, 2])], ids=str)
def test_a_path_that_is_none(tmp_path, image):
    path = two_cars(tmp_path, relative_im_path=image)
    assert_refused(Cars196, tmp_path, f"{path}, row 2: relative_im_path must be the path of an")


def test_a_path_of_a_folder(tmp_path):
    path = two_cars(tmp_path, relative_im_path="car_ims/2.jpg/")
    assert_refused(Cars196, tmp_path, f"{path}, row 2: must name a file, got 'car_ims/2.jpg/'")
