"""Metrics of a model whose data set is embedded in shards."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from pml_gpw.distributed import distributed_dataset_metrics, distributed_dataset_recall
from pml_gpw.evaluation import dataset_metrics, dataset_recall

from .faults import at_fault, from_last, raised_on_all


class Images(Dataset):
    ks = (1, 2, 4)

    def __init__(self, n, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randn(n, 3, generator=generator)
        self.labels = torch.arange(n) % 5
        self.seen = torch.zeros(n, dtype=torch.long)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.seen[index] += 1
        return self.images[index], int(self.labels[index])


class Net(nn.Module):
    """A scale, and statistics that evaluation uses and must not move."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.norm.running_var += torch.tensor([0.0, 3.0, 9.0])
        self.frozen = nn.BatchNorm1d(3).eval()

    def forward(self, images):
        if images.isnan().any():
            raise RuntimeError("no picture")
        return self.norm(images)


def check_as_one_process():
    """Each image is seen once; also where there are fewer than processes, in lists and matrices."""
    gallery = Images(31, seed=1)
    for n, batch_size in ((23, 4), (13, 64), (1, 1)):
        queries, model = Images(n), Net()
        for references in (gallery,) if n == 1 else (None, gallery):
            queries.seen.zero_()
            options = {"batch_size": batch_size, "metric": "l2" if n == 1 else "cosine"}
            many = distributed_dataset_metrics(model, queries, references, **options)
            assert many == dataset_metrics(Net(), Images(n), references, **options)
            assert len({*many.values()}) > 1
            assert model.training
            assert model.norm.training
            assert not model.frozen.training
            assert model.norm.num_batches_tracked == 0
            dist.all_reduce(queries.seen)
            assert (queries.seen == 1).all() or n < dist.get_world_size()
    queries = Images(13)
    relevant = queries.labels[:, None] == gallery.labels
    lists = [row.nonzero()[:, 0].tolist() for row in relevant]
    one = dataset_metrics(Net(), queries, gallery)
    for given in (relevant, lists, lambda a, b: a[:, None] == b):
        options = {"relevant": given, "ignore": relevant & False}
        assert distributed_dataset_metrics(Net(), queries, gallery, **options) == one


def check_distributed_data_parallel():
    """Shards of different length need different numbers of steps; the buffers are rank 0's."""
    model = DistributedDataParallel(Net())
    model.module.norm.running_var += 5.0 * dist.get_rank()
    many = distributed_dataset_recall(model, Images(23), batch_size=3)
    assert many == dataset_recall(Net(), Images(23))
    assert model.training
    assert model.module.norm.running_var.equal(Net().norm.running_var)


def check_one_at_fault():
    queries, broken = Images(13), Images(13)
    broken.images[-1] = torch.nan
    for message, args, options in (
        ("batch_size must be", (queries,), {"batch_size": 0}),
        ("queries must have at least one image", (Images(0),), {}),
        ("ks must be given", ([(0, 0)],), {}),
        ("no picture", (broken,), {}),
        ("no picture", (queries, broken), {}),
    ):
        kind = RuntimeError if message == "no picture" else ValueError
        args, options = (args, options) if at_fault() else ((queries,) * len(args), {})
        said = {"message": from_last(message), "kind": kind}
        raised_on_all(distributed_dataset_recall, Net(), *args, **options, **said)
    other = (Images(14),) if at_fault() else (queries,)
    message = "^size of queries must be the same on all ranks, got 13, .*14"
    raised_on_all(distributed_dataset_recall, Net(), *other, message=message)
    with pytest.raises(ValueError, match=r"^ks must be at most 12, "):
        distributed_dataset_recall(Net(), queries, ks=(13,))
    assert distributed_dataset_recall(Net(), queries) == dataset_recall(Net(), queries)
