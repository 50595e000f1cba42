import shutil

import numpy as np
import pytest
from scipy.io import savemat

from pml_gpw.datasets import Cars196

from . import miniatures
from .helpers import assert_refused
from .miniatures import MINIATURES

LAYOUTS = [name for name in MINIATURES if "Cars" in name]


def test_both_layouts_of_cars_are_the_same_pictures(miniature_roots):
    """But for the grey and the transparent ones at the start of each file of annotations."""
    for split in ("train", "test"):
        retrieval, merged = (
            {(y, *np.array(image).mean((0, 1))) for image, y in Cars196(miniature_roots[n], split)}
            for n in LAYOUTS
        )
        assert len(retrieval & merged) >= 14


def test_where_the_files_of_classification_lie(copy_of, miniature_roots):
    """Beside the kit, in it, or as Kaggle packs them: in folders of their names."""
    dataset, root = copy_of("Cars196, classification")
    shutil.copy(miniature_roots["Cars196"] / "cars_annos.mat", root)  # of the other layout
    beside = root / "cars_test_annos_withlabels.mat"
    before = dataset(root, "test")
    assert f"{root}/cars_train/" in before.paths[0]
    beside.rename(root / "devkit" / beside.name)
    assert dataset(root, "test").paths == before.paths
    for folder in ("cars_train/cars_train", "cars_test/cars_test", "car_devkit/devkit"):
        (root / folder.rpartition("/")[2]).rename(root / "moving")
        (root / folder).parent.mkdir()
        (root / "moving").rename(root / folder)
    data = dataset(root, "test")
    assert data.labels == before.labels
    assert f"{root}/cars_train/cars_train/" in data.paths[0]
    assert data[0][0].mode == "RGB"
    annotations = root / "car_devkit/devkit" / beside.name
    annotations.rename(annotations.with_name("cars_test_annos.mat"))  # those without classes
    assert_refused(Cars196, root, "root must hold .*cars_test_annos_withlabels.mat")


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


PATH = "relative_im_path"
CLASSES = (2.7, "x", -1.0, 0, 197, np.nan, np.inf, np.array([1, 2]), "9" * 5000)
ROWS = [("class", value, "class must be an integer in 1..196, got ") for value in CLASSES]
OTHERS = 7.5, "", np.array([1, 2])
ROWS += [(PATH, value, f"{PATH} must be the path of an image, got ") for value in OTHERS]
ROWS += [(PATH, "car_ims/2.jpg/", "must name a file, got 'car_ims/2.jpg/'")]


@pytest.mark.parametrize(("field", "value", "said"), ROWS, ids=lambda value: str(value)[:9])
def test_rows_that_cannot_be(tmp_path, field, value, said):
    two_cars(tmp_path)
    assert [(type(label), label) for label in Cars196(tmp_path, "test").labels] == [(int, 99)]
    path = two_cars(tmp_path, **{field: value})
    assert_refused(Cars196, tmp_path, f"{path}, row 2: {said}")
