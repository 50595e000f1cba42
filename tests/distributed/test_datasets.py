"""Metrics of a model on a data set in two, three and four processes against one; and in one."""

import pytest
import torch.distributed as dist

from pml_gpw.distributed import distributed_dataset_metrics, distributed_dataset_recall
from pml_gpw.evaluation import dataset_metrics
from pml_gpw.evaluation import dataset_recall as recall_in_one_process

from .inside import dataset_recall
from .processes import Processes

CHECKS = [name for name in vars(dataset_recall) if name.startswith("check_")]


@pytest.mark.parametrize("name", CHECKS)
def test_as_one_process(processes, name):
    processes.run(dataset_recall.__name__, name)


def in_one_process():
    args = dataset_recall.Net(), dataset_recall.Images(13), dataset_recall.Images(9)
    assert distributed_dataset_recall(*args) == recall_in_one_process(*args)
    assert distributed_dataset_metrics(*args) == dataset_metrics(*args)


def test_without_a_group():
    assert not dist.is_initialized()
    in_one_process()


def test_a_group_of_one(tmp_path):
    pool = Processes(1, tmp_path)
    pool.run(__name__, in_one_process.__name__)
    pool.stop()
