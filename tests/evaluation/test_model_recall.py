import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset, default_collate

from pml_gpw.datasets import CUB200, InShop
from pml_gpw.evaluation import (
    dataset_metrics,
    dataset_recall,
    map_at_r,
    model_recall,
    r_precision,
    recall_at_k,
    retrieval_metrics,
)

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
    return root


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    root = tmp_path_factory.mktemp("inshop")
    in_shop(root)
    return root


def embeddings(model, dataset):
    images = torch.stack([dataset[i][0] for i in range(len(dataset))])
    with torch.no_grad():
        return model.eval()(images), torch.tensor(dataset.labels)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_leave_one_out_on_the_test_classes(birds, backend):
    model = Tint().train()
    queries, references = CUB200.evaluation_splits(birds, small)
    assert references is None
    ks = (1, 2, 4, 8, 16)
    found = dataset_recall(model, queries, references, ks=ks, backend=backend, batch_size=7)
    assert found == recall_at_k(*embeddings(Tint(), queries), ks=ks)
    assert 0.2 < found[1] < found[16]
    assert model.seen == len(queries)
    assert model.training
    assert model.norm.training
    assert model.norm.num_batches_tracked == 0


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_in_shop_searches_its_gallery(clothes, backend):
    queries, gallery = InShop.evaluation_splits(clothes, small)
    model = Tint()
    found = dataset_recall(model, queries, gallery, ks=(1, 10), backend=backend, workers=1)
    q, g = embeddings(Tint(), queries), embeddings(Tint(), gallery)
    assert found == recall_at_k(*q, *g, ks=(1, 10))
    # a negative control: leave-one-out over all is another number
    both = recall_at_k(torch.cat([q[0], g[0]]), torch.cat([q[1], g[1]]), ks=(1, 10))
    assert found != both


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_all_metrics_from_one_pass(birds, clothes, backend):
    queries, _ = CUB200.evaluation_splits(birds, small)
    model = Tint().train()
    found = dataset_metrics(model, queries, ks=(1, 4), backend=backend, batch_size=7)
    embedded = embeddings(Tint(), queries)
    recalls = recall_at_k(*embedded, ks=(1, 4))
    assert found == {f"recall_at_{k}": recall for k, recall in recalls.items()} | {
        "r_precision": r_precision(*embedded),
        "map_at_r": map_at_r(*embedded),
    }
    assert 0 < found["map_at_r"] < found["r_precision"] < 1
    assert model.seen == len(queries)
    assert model.training
    queries, gallery = InShop.evaluation_splits(clothes, small)
    found = dataset_metrics(Tint(), queries, gallery, ks=(1,), backend=backend)
    task = (*embeddings(Tint(), queries), *embeddings(Tint(), gallery))
    assert found == retrieval_metrics(*task, ks=(1,))
    with pytest.raises(ValueError, match="ks must be at most 12"):
        dataset_metrics(Tint(), queries, gallery)


def test_the_ks_of_the_data_set(clothes, monkeypatch):
    queries, gallery = InShop.evaluation_splits(clothes, small)
    with pytest.raises(ValueError, match="ks must be at most 12"):
        dataset_recall(Tint(), queries, gallery)  # K = 20 … of 12 references
    monkeypatch.setattr(InShop, "ks", (1, 5))
    assert {*dataset_recall(Tint(), queries, gallery)} == {1, 5}


def test_bad_arguments(clothes):
    queries, gallery = InShop.evaluation_splits(clothes, small)
    for arguments, said in (
        ({"batch_size": 0}, "batch_size must be an integer > 0"),
        ({"workers": -1}, "workers must be an integer >= 0"),
        ({"ks": (0,)}, "ks must be"),
        ({"backend": "annoy"}, "backend must be one of"),
    ):
        with pytest.raises(ValueError, match=said):
            dataset_recall(Tint(), queries, gallery, **{"ks": (1,), **arguments})
    with pytest.raises(ValueError, match="ks must be given"):
        dataset_recall(Tint(), torch.utils.data.Subset(queries, [0, 1]))
    with pytest.raises(ValueError, match="queries must have at least one image"):
        dataset_recall(Tint(), torch.utils.data.Subset(queries, []), ks=(1,))


def test_models_that_give_no_embeddings_are_named():
    images = [(torch.rand(3, 4, 4), i // 2) for i in range(4)]
    with pytest.raises(ValueError, match="model must be a Module, got <function"):
        dataset_recall(lambda image: image.flatten(1), images, ks=(1,))
    model = torch.nn.Identity()
    with pytest.raises(
        ValueError, match=r"model must map 4 items to embeddings \(4, D\), .*\(4, 3, 4, 4\)"
    ):
        dataset_recall(model, images, ks=(1,))
    assert not model._forward_hooks
    halves = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Unflatten(1, (2, -1)))
    halves.append(torch.nn.Flatten(0, 1))
    with pytest.raises(ValueError, match=r"embeddings \(4, D\), got torch.float32 \(8, 24\)"):
        dataset_recall(halves, images, ks=(1,))


@pytest.mark.parametrize("of", ["model", "loader"])
def test_memory_that_is_used_again(monkeypatch, of):
    """A model, or a loader, that writes into what it gave before."""
    x, labels = torch.randn(12, 4), torch.arange(12) % 3
    buffer = torch.empty(1, 4)

    class Reusing(nn.Module):
        def forward(self, images):
            return buffer.copy_(images) if of == "model" else images

    def collated(items):
        batch, numbers = default_collate(items)
        return (buffer.copy_(batch) if of == "loader" else batch), numbers

    monkeypatch.setattr(model_recall, "collate", collated)
    found = dataset_metrics(Reusing(), TensorDataset(x, labels), ks=(1,), batch_size=1)
    assert found == retrieval_metrics(x, labels, ks=(1,))


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            [(Image.new("L", (4, 4)), 0)] * 2,
            r"items must make batches, .* got \(Image, int\): give a",
        ),
        ([(torch.ones(i), 0) for i in (2, 3)], r"one shape do, got \(torch.float32 \(2,\), int\)"),
    ],
)
def test_items_that_make_no_batch(items, said):
    with pytest.raises(ValueError, match=said):
        dataset_metrics(nn.Identity(), items, ks=(1,))


@pytest.mark.parametrize("dataset", [None, 3, iter([]), {1, 2}])
def test_what_is_no_data_set(dataset):
    images = [(torch.rand(4), i // 2) for i in range(4)]
    name = type(dataset).__name__
    with pytest.raises(ValueError, match=f"queries must be a data set .* got {name}"):
        dataset_recall(torch.nn.Identity(), dataset, ks=(1,))
    if dataset is not None:
        with pytest.raises(ValueError, match=f"references must be a data set .* got {name}"):
            dataset_recall(torch.nn.Identity(), images, dataset, ks=(1,))
