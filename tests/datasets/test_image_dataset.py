import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pml_gpw.datasets import CUB200, Cars196, ImageFolder, InShop, StanfordOnlineProducts

from .helpers import assert_refused, to_tensor
from .miniatures import MINIATURES, PER_CLASS

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


def test_every_image_is_rgb_with_an_integer_label(miniature):
    dataset, root = miniature
    for split in dataset.splits:
        data = dataset(root, split, transform=to_tensor)
        assert len(data) == len(data.paths) == len(data.labels) > 0
        for i, (image, label) in enumerate(data):
            assert image.shape == (3, 8, 8)
            assert type(label) is int
            assert label == data.labels[i]
            assert label in data.classes
            if i + 1 == len(data):
                break


def test_the_first_image_is_really_grey_and_the_second_transparent(miniature):
    """Otherwise the miniatures would not have the traps they claim."""
    dataset, root = miniature
    modes = set()
    for split in dataset.splits:
        for path in dataset(root, split).paths:
            with Image.open(path) as image:
                modes.add(image.mode)
    assert modes == {"L", "RGBA", "RGB"}


def test_no_class_is_trained_and_tested(miniature):
    dataset, root = miniature
    train = set(dataset(root, "train").labels)
    queries, references = dataset.evaluation_splits(root)
    test = set(queries.labels) | set(references.labels if references else [])
    assert train
    assert test
    assert not train & test


def test_sizes(miniature):
    dataset, root = miniature
    singleton = dataset is StanfordOnlineProducts  # one class with one image
    train = dataset(root, "train")
    assert (len(train.classes), len(train)) == (4, 4 * PER_CLASS - 4 * singleton)
    queries, references = dataset.evaluation_splits(root)
    assert len(queries) + len(references or []) == 4 * PER_CLASS
    assert len(queries.classes) == 4


def test_loads_in_worker_processes_as_a_batch(miniature):
    dataset, root = miniature
    data = dataset(root, "train", transform=to_tensor)
    images, labels = next(iter(DataLoader(data, batch_size=6, num_workers=1)))
    assert images.shape == (6, 3, 8, 8)
    assert labels.dtype == torch.int64
    assert pickle.loads(pickle.dumps(data)).paths == data.paths


def test_target_transform(miniature):
    dataset, root = miniature
    data = dataset(root, "train", target_transform=str)
    assert data[0][1] == str(data.labels[0])


def test_another_size_than_published_is_a_warning(miniature_roots):
    with pytest.warns(UserWarning, match=r"20 images of 4 classes; published: 5,864 images of 100"):
        CUB200(miniature_roots["CUB200"])


def test_annotations_missing(miniature_copy):
    dataset, root = miniature_copy
    for path in [*root.rglob("*.txt"), *root.rglob("*.mat")]:
        path.unlink()
    if dataset is not ImageFolder:
        assert_refused(dataset, root, "root must hold .*none of which is there")


def test_arguments(miniature_roots, tmp_path):
    root = miniature_roots["CUB200"]
    for arguments, said in (
        ((root, "val"), "split must be one of train, test, got 'val'"),
        ((root, "train", 3), "transform must be None or callable, got 3"),
        ((root, "train", None, "x"), "target_transform must be None or callable"),
        ((None,), "root must be the path of a folder, got None"),
        ((tmp_path / "nowhere",), "root must be a folder, got .*nowhere.*Get CUB_200_2011.tgz"),
        ((tmp_path,), "root must hold .*images.txt"),
    ):
        with pytest.raises(ValueError, match=said):
            CUB200(*arguments)
    for dataset in (Cars196, InShop):
        with pytest.raises(ValueError, match=f"download must be False: {dataset.__name__}.*root"):
            dataset(tmp_path, download=True)
    with pytest.raises(ValueError, match="has no image in split"):
        ImageFolder(tmp_path)


def test_the_digest_names_paths_labels_and_split(tmp_path):
    make = MINIATURES["ImageFolder"][1]
    one, moved = tmp_path / "one", tmp_path / "moved"
    for folder in (one, moved):
        folder.mkdir()
        make(folder)
    train, test = ImageFolder(one, "train"), ImageFolder(one, "test")
    assert train.digest() == ImageFolder(moved, "train").digest() != test.digest()
    (moved / "yew").rename(moved / "aspen")
    assert ImageFolder(moved, "train").digest() != train.digest()
