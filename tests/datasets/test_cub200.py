from pml_gpw.datasets import CUB200

from .helpers import assert_refused, rewrite


def test_cub_splits_by_class_id_and_keeps_it(miniature_roots):
    for root in (miniature_roots["CUB200"], miniature_roots["CUB200"] / "CUB_200_2011"):
        assert sorted(set(CUB200(root, "train").labels)) == [1, 2, 50, 100]
        assert sorted(set(CUB200(root, "test").labels)) == [101, 150, 199, 200]
    data = CUB200(root, "test")
    for path, label in zip(data.paths, data.labels, strict=True):
        assert f"/{label:03}.Bird_of_{label}/" in path
    assert data.classes[101] == "101.Bird_of_101"


def test_class_labels_of_other_images(copy_of):
    _, root = copy_of("CUB200")
    path = root / "CUB_200_2011/image_class_labels.txt"
    rewrite(path, lambda lines: lines[1:])
    images = path.with_name("images.txt")
    refused = f"{images}, line 40: image id 40 must be in .*{path.name}; 1 image ids are in one"
    assert_refused(CUB200, root, refused)
