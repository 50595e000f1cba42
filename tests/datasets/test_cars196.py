import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pml_gpw.datasets import Cars196

from . import miniatures
from .helpers import assert_refused
from .miniatures import MINIATURES

LAYOUTS = [name for name in MINIATURES if "Cars" in name]


def test_both_layouts_of_cars_are_the_same_pictures(miniature_roots):
    def pictures(name, split):
        """Label and colour means of each picture that is not grey or transparent."""
        data = Cars196(miniature_roots[name], split)
        images = [
            (Image.open(path), label) for path, label in zip(data.paths, data.labels, strict=True)
        ]
        return sorted((y, *np.array(i).mean((0, 1))) for i, y in images if i.mode == "RGB")

    for split in ("train", "test"):
        retrieval, merged = (pictures(name, split) for name in LAYOUTS)
        assert len({*retrieval} & {*merged}) >= len(retrieval) - 2


def test_annotations_of_classification_beside_the_kit_or_in_it(copy_of, miniature_roots):
    """They need the classes; annotations of the other layout do not take their place."""
    dataset, root = copy_of("Cars196, classification")
    shutil.copy(miniature_roots["Cars196"] / "cars_annos.mat", root)
    beside = root / "cars_test_annos_withlabels.mat"
    before = dataset(root, "test").paths
    assert "/cars_train/" in before[0]
    beside.rename(root / "devkit" / beside.name)
    assert dataset(root, "test").paths == before
    (root / "devkit" / beside.name).rename(root / "devkit/cars_test_annos.mat")
    assert_refused(Cars196, root, "root must hold .*cars_test_annos_withlabels.mat")


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


@pytest.mark.parametrize("name", LAYOUTS)
def test_mat_files_of_something_else(copy_of, name):
    dataset, root = copy_of(name)
    path = min(root.rglob("*.mat"))
    savemat(path, {"annotations": np.zeros(3), "class_names": np.zeros(3)})
    assert_refused(dataset, root, f"{path} must hold 'annotations' with the fields")


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


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        *(
            ("class", value, "class must be an integer in 1..196, got ")
            for value in (2.7, "x", -1.0, 0, 197, np.nan, np.inf, np.array([1, 2]), "9" * 5000)
        ),
        *(
            ("relative_im_path", value, "relative_im_path must be the path of an image, got ")
            for value in (7.5, "", np.array([1, 2]))
        ),
        ("relative_im_path", "car_ims/2.jpg/", "must name a file, got 'car_ims/2.jpg/'"),
    ],
    ids=lambda value: str(value)[:9],
)
def test_rows_that_cannot_be(tmp_path, field, value, said):
    two_cars(tmp_path)
    assert [(type(label), label) for label in Cars196(tmp_path, "test").labels] == [(int, 99)]
    path = two_cars(tmp_path, **{field: value})
    assert_refused(Cars196, tmp_path, f"{path}, row 2: {said}")
