import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pml_gpw.datasets import CUB200, ImageFolder, StanfordOnlineProducts

from .miniatures import MINIATURES, PER_CLASS


def size_and_mode(image):
    return torch.tensor(image.size), image.mode


def test_every_image_is_rgb_with_an_integer_label(miniature):
    """Also the grey and the transparent ones, which each miniature really has."""
    dataset, root = miniature
    modes = set()
    for split in dataset.splits:
        data = dataset(root, split, transform=size_and_mode)
        assert len(data) == len(data.paths) == len(data.labels) > 0
        for ((_, mode), label), path, expected in zip(data, data.paths, data.labels, strict=True):
            assert (mode, type(label), label) == ("RGB", int, expected)
            assert label in data.classes
            with Image.open(path) as image:
                modes.add(image.mode)
    assert modes == {"L", "RGBA", "RGB"}


def test_no_class_is_trained_and_tested(miniature):
    dataset, root = miniature
    train = dataset(root, "train")
    queries, references = dataset.evaluation_splits(root)
    test = {*queries.labels, *(references.labels if references else [])}
    assert not {*train.labels} & test
    singleton = dataset is StanfordOnlineProducts  # one class with one image
    assert (len(train.classes), len(train)) == (4, 4 * PER_CLASS - 4 * singleton)
    assert len(queries) + len(references or []) == 4 * PER_CLASS
    assert len(queries.classes) == len(test) == 4


@pytest.mark.parametrize("name", ["CUB200", "ImageFolder"])
def test_loads_in_worker_processes_as_a_batch(miniature_roots, name):
    data = MINIATURES[name][0](miniature_roots[name], "train", size_and_mode, lambda label: -label)
    (sizes, _), labels = next(iter(DataLoader(data, batch_size=6, num_workers=1)))
    assert sizes.tolist() == [[40, 32]] * 6
    assert labels.tolist() == [-label for label in data.labels[:6]]
    data.target_transform = None
    assert pickle.loads(pickle.dumps(data)).paths == data.paths


def test_another_size_than_published_is_a_warning(miniature_roots):
    with pytest.warns(UserWarning, match=r"20 images of 4 classes; published: 5,864 images of 100"):
        CUB200(miniature_roots["CUB200"])


def test_the_digest_names_paths_labels_and_split(copy_of, miniature_roots):
    root = miniature_roots["ImageFolder"]
    train, test = ImageFolder(root, "train"), ImageFolder(root, "test")
    _, root = copy_of("ImageFolder")
    assert train.digest() == ImageFolder(root, "train").digest() != test.digest()
    (root / "yew").rename(root / "aspen")
    assert ImageFolder(root, "train").digest() != train.digest()
