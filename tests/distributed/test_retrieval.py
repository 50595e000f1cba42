"""Retrieval in two, three and four processes against one; and without a group."""

import pytest
import torch.distributed as dist

from .inside import alone, dataset_metrics, retrieval
from .processes import checks_of

pytest.importorskip("faiss")


@pytest.mark.parametrize(("module", "name"), checks_of(retrieval, dataset_metrics))
def test_as_one_process(processes, module, name):
    processes.run(module, name)


def test_without_a_group():
    assert not dist.is_initialized()
    alone.check_retrieval_is_that_of_the_functions()
