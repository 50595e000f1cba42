"""Metrics of a model whose data set is embedded in shards."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from pml_gpw.distributed import distributed_dataset_metrics, distributed_dataset_recall
from pml_gpw.evaluation import dataset_metrics, dataset_recall

from .errors import at_fault, from_last, raised_on_all


class Images(Dataset):
    """Rows of random numbers, and how often each was looked at."""

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

    def __init__(self, spoil=0.0):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.norm.running_var += torch.tensor([0.0, 3.0, 9.0]) + spoil
        self.frozen = nn.BatchNorm1d(3).eval()

    def forward(self, images):
        if images.isnan().any():
            raise RuntimeError("no picture")
        return self.norm(images)


def check_as_one_process():
    gallery = Images(31, seed=1)
    for n, batch_size in ((23, 4), (23, 64), (13, 1)):
        for references in (None, gallery):
            queries, model = Images(n), Net().train()
            model.frozen.eval()
            many = distributed_dataset_recall(model, queries, references, batch_size=batch_size)
            assert many == dataset_recall(Net(), Images(n), references)
            assert len({*many.values()}) > 1
            assert model.training
            assert model.norm.training
            assert not model.frozen.training
            assert model.norm.num_batches_tracked == 0
            dist.all_reduce(queries.seen)
            assert (queries.seen == 1).all()


def check_all_metrics_as_one_process():
    for n, references in ((23, None), (13, Images(31, seed=1)), (1, Images(6))):
        many = distributed_dataset_metrics(Net(), Images(n), references, batch_size=4)
        assert many == dataset_metrics(Net(), Images(n), references)
        assert [*many] == ["recall_at_1", "recall_at_2", "recall_at_4", "r_precision", "map_at_r"]
    raised_on_all(
        distributed_dataset_metrics,
        Net(),
        Images(13),
        batch_size=0 if at_fault() else 4,
        message=from_last("batch_size must be"),
    )


def check_fewer_images_than_processes():
    queries, gallery = Images(1), Images(6)
    for metric in ("cosine", "l2"):
        many = distributed_dataset_recall(Net(), queries, gallery, metric=metric)
        assert many == dataset_recall(Net(), queries, gallery, metric=metric)


def check_distributed_data_parallel():
    """Shards of different length need different numbers of steps; the buffers are rank 0's."""
    model = DistributedDataParallel(Net())
    model.module.norm.running_var += 5.0 * dist.get_rank()
    assert distributed_dataset_recall(model, Images(23), batch_size=3) == dataset_recall(
        Net(), Images(23)
    )
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
        right = (queries,) * len(args), {}
        args, options = (args, options) if at_fault() else right
        raised_on_all(
            distributed_dataset_recall,
            Net(),
            *args,
            **options,
            message=from_last(message),
            kind=RuntimeError if message == "no picture" else ValueError,
        )
    other = (Images(14),) if at_fault() else (queries,)
    message = "^size of queries must be the same on all ranks, got 13, .*14"
    raised_on_all(distributed_dataset_recall, Net(), *other, message=message)
    with pytest.raises(ValueError, match=r"^ks must be at most 12, "):
        distributed_dataset_recall(Net(), queries, ks=(13,))
    assert distributed_dataset_recall(Net(), queries) == dataset_recall(Net(), queries)
