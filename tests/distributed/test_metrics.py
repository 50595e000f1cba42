"""Recall@K, R-precision and MAP@R in two, three and four processes against one; and in one."""

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import distributed_retrieval_metrics
from pml_gpw.evaluation import retrieval_metrics

from .inside import metrics
from .processes import Processes

pytest.importorskip("faiss")

CHECKS = [name for name in vars(metrics) if name.startswith("check_")]


@pytest.mark.parametrize("name", CHECKS)
def test_as_one_process(processes, name):
    processes.run(metrics.__name__, name)


def in_one_process():
    """Arrays and galleries are those of retrieval_metrics."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) // 4
    for args in ((x, labels), (x.numpy(), labels.numpy()), (x[:9], labels[:9], x, labels)):
        assert distributed_retrieval_metrics(*args) == retrieval_metrics(*args)


def test_without_a_group():
    assert not dist.is_initialized()
    in_one_process()


def test_a_group_of_one(tmp_path):
    pool = Processes(1, tmp_path)
    pool.run(__name__, in_one_process.__name__)
    pool.stop()
