"""What is wrong with Recall@K on one process is raised on all, and none is left waiting."""

import sys
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import distributed_recall_at_k
from pml_gpw.evaluation import backends, recall_at_k

from .errors import at_fault, from_last, raised_on_all, spoiled


def batch():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(dist.get_rank()))
    return x, torch.arange(6) // 2


def still_in_step():
    world = dist.get_world_size()
    x = torch.eye(4)[:, :2].repeat(world, 1)
    labels = torch.arange(4 * world) // 2
    mine = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4)
    ks = 1, 2, 5
    assert distributed_recall_at_k(x[mine], labels[mine], ks=ks) == recall_at_k(x, labels, ks=ks)


def check_one_bad_shard():
    x, labels = batch()
    wrong = {
        "query must be finite, got NaN": (spoiled(x), labels),
        "query must be a torch.Tensor, got list": (x.tolist(), labels),
        "query must have at least one row and column": (x[:, :0], labels),
        "query_labels must have shape": (x, labels[1:]),
        "query_labels must be integers": (x, labels + 0.5),
        "reference must be finite": (x, labels, spoiled(x), labels),
        "reference must have the 4 dimensions": (x, labels, x[:, 1:], labels),
        "reference and reference_labels must come together": (x, labels, x, None),
        "ks must be at least one integer": (x, labels, None, None, (0,)),
        "backend must be one of": (x, labels, None, None, (1,), "annoy"),
        "metric must be one of": (x, labels, None, None, (1,), "torch", "L2"),
    }
    for message, args in wrong.items():
        right = (x, labels, x, labels) if len(args) == 4 else (x, labels)
        args = args if at_fault() else right
        raised_on_all(distributed_recall_at_k, *args, message=from_last(message))
    still_in_step()


def check_shards_that_do_not_fit():
    x, labels = batch()
    right = {"ks": (1, 2), "metric": "cosine"}
    for name, args, options in (
        ("query", (x[:, 1:], labels), right),
        ("query", (x.double(), labels), right),
        ("reference", (x, labels, x, labels), right),
        ("ks", (x, labels), right | {"ks": (1,)}),
        ("metric", (x, labels), right | {"metric": "l2"}),
    ):
        args, options = (args, options) if at_fault() else ((x, labels), right)
        message = f"^{name} must be the same on all ranks, got .*, "
        raised_on_all(distributed_recall_at_k, *args, **options, message=message)
    still_in_step()


def check_nothing_at_all():
    x, labels = batch()
    nothing = x[:0], labels[:0]
    for name, args in (("query", nothing), ("reference", (x, labels, *nothing))):
        message = f"^{name} must have at least one row on some rank"
        raised_on_all(distributed_recall_at_k, *args, message=message)
    still_in_step()


def check_failing_search():
    """In the search, when the others are at theirs; and without FAISS."""
    x, labels = batch()

    def failing(reference):
        raise MemoryError("no room")

    searches = {"torch": failing} if at_fault() else {}
    with mock.patch.dict(backends.BACKENDS, searches):
        raised_on_all(
            distributed_recall_at_k,
            x,
            labels,
            backend="torch",
            message=from_last("no room"),
            kind=RuntimeError,
        )
    still_in_step()
    with mock.patch.dict(sys.modules, {"faiss": None} if at_fault() else {}):
        raised_on_all(
            distributed_recall_at_k,
            x,
            labels,
            backend="faiss",
            message=from_last('backend="faiss" needs'),
            kind=RuntimeError,
        )
    still_in_step()


def check_groups():
    """The processes of a group stand for themselves, whatever their ranks among all."""
    world = dist.get_world_size()
    last = dist.new_group([world - 2, world - 1])
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) // 3
    if dist.get_rank() < world - 2:
        with pytest.raises(ValueError, match="group must have this process as a member"):
            distributed_recall_at_k(x, labels, group=last)
        return
    mine = slice(5) if dist.get_rank(last) == 0 else slice(5, 9)
    many = distributed_recall_at_k(x[mine], labels[mine], group=last)
    assert many == recall_at_k(x, labels)
