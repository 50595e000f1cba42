"""Retrieval in two, three and four processes against one; and in one."""

import pytest
import torch
import torch.distributed as dist

from pml_gpw.distributed import (
    distributed_dataset_metrics,
    distributed_dataset_recall,
    distributed_recall_at_k,
    distributed_retrieval_metrics,
)
from pml_gpw.evaluation import dataset_metrics, recall_at_k, retrieval_metrics
from pml_gpw.evaluation import dataset_recall as recall_in_one_process

from .inside import dataset_metrics as of_data_sets
from .inside import retrieval
from .processes import Processes, checks_of

pytest.importorskip("faiss")


@pytest.mark.parametrize(("module", "name"), checks_of(retrieval, of_data_sets))
def test_as_one_process(processes, module, name):
    processes.run(module, name)


def in_one_process():
    """Arrays, galleries and errors are those of the functions."""
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) // 4
    for args in ((x, labels), (x.numpy(), labels.numpy()), (x[:9], labels[:9], x, labels)):
        assert distributed_recall_at_k(*args) == recall_at_k(*args)
        assert distributed_retrieval_metrics(*args) == retrieval_metrics(*args)
    with pytest.raises(ValueError, match=r"^query must have at least one row"):
        distributed_recall_at_k(x[:0], labels[:0])
    args = of_data_sets.Net(), of_data_sets.Images(13), of_data_sets.Images(9)
    assert distributed_dataset_recall(*args) == recall_in_one_process(*args)
    assert distributed_dataset_metrics(*args) == dataset_metrics(*args)


def test_without_a_group():
    assert not dist.is_initialized()
    in_one_process()


@pytest.mark.exhaustive
def test_a_group_of_one(tmp_path):
    pool = Processes(1, tmp_path)
    pool.run(__name__, in_one_process.__name__)
    pool.stop()
