"""The metrics of a model on a data set, in the protocol of the data set."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Subset, TensorDataset

from pml_gpw.datasets import CUB200, InShop
from pml_gpw.evaluation import dataset_metrics, dataset_recall, recall_at_k, retrieval_metrics

from ..datasets.miniatures import cub200, in_shop

pytestmark = pytest.mark.filterwarnings("ignore:.*published")


class Tint(nn.Module):
    """Pixels of a small picture, and a batch normalisation that evaluation must not move."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        return self.norm(images)[:, 0, :2, :2].flatten(1)  # little enough to err


def small(image):
    return torch.from_numpy(np.array(image.resize((4, 4)))).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    root = tmp_path_factory.mktemp("cub")
    cub200(root)
    return CUB200.evaluation_splits(root, small)


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    root = tmp_path_factory.mktemp("inshop")
    in_shop(root)
    return InShop.evaluation_splits(root, small)


def embeddings(dataset):
    images = torch.stack([dataset[i][0] for i in range(len(dataset))])
    with torch.no_grad():
        return Tint().eval()(images), torch.tensor(dataset.labels)


def test_leave_one_out_on_the_test_classes(birds, backend):
    """All metrics from one pass, after which every module has its mode again."""
    queries, references = birds
    assert references is None
    model, ks = Tint().train(), (1, 2, 4, 8, 16)
    model.norm.eval()
    found = dataset_metrics(model, queries, None, ks=ks, backend=backend, batch_size=7)
    wanted = retrieval_metrics(*embeddings(queries), ks=ks)
    assert found == wanted
    assert 0.2 < found["recall_at_1"] < found["recall_at_16"]
    assert model.seen == len(queries)
    assert model.training
    assert not model.norm.training
    assert model.norm.num_batches_tracked == 0
    assert dataset_recall(model, queries, ks=ks) == {k: wanted[f"recall_at_{k}"] for k in ks}


def test_in_shop_searches_its_gallery(clothes, backend):
    found = dataset_recall(Tint(), *clothes, ks=(1, 10), backend=backend, workers=1)
    q, g = map(embeddings, clothes)
    assert found == recall_at_k(*q, *g, ks=(1, 10))
    # a negative control: leave-one-out over all is another number
    both = recall_at_k(torch.cat([q[0], g[0]]), torch.cat([q[1], g[1]]), ks=(1, 10))
    assert found != both


class WithKs(TensorDataset):
    ks = (1, 5)


def test_the_ks_of_the_data_set():
    found = dataset_recall(nn.Identity(), WithKs(torch.randn(12, 4), torch.arange(12) % 3))
    assert {*found} == {1, 5}


def test_memory_that_is_used_again():
    """A model that writes into what it gave before."""
    x, labels = torch.randn(12, 4), torch.arange(12) % 3
    buffer = torch.empty(1, 4)

    class Reusing(nn.Module):
        def forward(self, images):
            return buffer.copy_(images)

    found = dataset_metrics(Reusing(), TensorDataset(x, labels), ks=(1,), batch_size=1)
    assert found == retrieval_metrics(x, labels, ks=(1,))


def flat(image):
    return image.flatten(1)


IMAGES = [(torch.rand(3, 4, 4), i // 2) for i in range(4)]
HALVES = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, -1)), nn.Flatten(0, 1))
PICTURES = [(Image.new("L", (4, 4)), 0)] * 2
LENGTHS = [(torch.ones(i), 0) for i in (2, 3)]
REFUSED = [
    ((IMAGES, IMAGES), {"batch_size": 0}, "batch_size must be an integer > 0"),
    ((IMAGES, IMAGES), {"workers": -1}, "workers must be an integer >= 0"),
    ((IMAGES, IMAGES), {"ks": (0,)}, "ks must be"),
    ((IMAGES, IMAGES), {"backend": "annoy"}, "backend must be one of"),
    ((IMAGES,), {"ks": None}, "ks must be given"),
    ((IMAGES,), {"ks": (4,), "model": nn.Flatten()}, "ks must be at most 3"),
    ((Subset(IMAGES, []),), {}, "queries must have at least one image"),
    ((IMAGES,), {"model": nn.Flatten(), "ignore": [[0]] * 5}, "ignore must .* got 5"),
    ((IMAGES,), {"model": flat}, "model must be a Module, got <function"),
    ((IMAGES,), {}, r"model must map 4 items to embeddings \(4, D\), .*\(4, 3, 4, 4\)"),
    ((IMAGES,), {"model": HALVES}, r"embeddings \(4, D\), got torch.float32 \(8, 24\)"),
    ((PICTURES,), {}, r"items must make batches, .* got \(Image, int\): give a"),
    ((LENGTHS,), {}, r"one shape do, got \(torch.float32 \(2,\), int\)"),
    *(
        (args, {}, f"{name} must be a data set .* got {type(args[-1]).__name__}")
        for wrong in (3, iter([]), {1, 2})
        for name, args in (("queries", (wrong,)), ("references", (IMAGES, wrong)))
    ),
    ((None,), {}, "queries must be a data set .* got NoneType"),
]


@pytest.mark.parametrize(("datasets", "options", "message"), REFUSED)
def test_bad_arguments_are_named(datasets, options, message):
    options = {"ks": (1,)} | options
    model = options.pop("model", nn.Identity())
    with pytest.raises(ValueError, match=message):
        dataset_recall(model, *datasets, **options)
