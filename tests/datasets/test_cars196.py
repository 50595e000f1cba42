import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pml_gpw.datasets import Cars196

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
