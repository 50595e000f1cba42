"""Columns of queries and documents: those of all processes are references of each query."""

import torch
import torch.distributed as dist

from pml_gpw import modules
from pml_gpw.distributed import DistributedLoss
from pml_gpw.mining import HardestNegatives
from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from ...tolerances import close
from ..partition import SIZES

BOTH = ("query_to_doc", "doc_to_query")


def columns(count=4):
    """Columns of all processes, and which rows are this process's."""
    sizes, rank = SIZES[dist.get_world_size()], dist.get_rank()
    generator = torch.Generator().manual_seed(0)
    whole = [
        torch.randn(sum(sizes), 5, generator=generator, dtype=torch.float64) for _ in range(count)
    ]
    start = sum(sizes[:rank])
    return whole, slice(start, start + sizes[rank])


def compared(loss, ids=None):
    whole, rows = columns()
    alone, parts = (modules.ColumnLoss(each, BOTH) for each in (loss, DistributedLoss(loss)))
    leaves = [column.clone().requires_grad_() for column in whole]
    given = {} if ids is None else {"query_ids": ids}
    one = alone(*leaves, **given)
    one.backward()
    own = [column[rows].clone().requires_grad_() for column in whole]
    many = parts(*own, **({} if ids is None else {"query_ids": ids[rows]}))
    many.backward()
    close(many, one)
    for part, leaf in zip(own, leaves, strict=True):
        close(part.grad, dist.get_world_size() * leaf.grad[rows])


def check_columns_without_ids():
    compared(modules.GPWLoss(LiftedStructure()))
    compared(modules.GPWLoss(MultiSimilarity(), trainable=("base",)))


def check_columns_with_ids_and_a_mining():
    n = sum(SIZES[dist.get_world_size()])
    compared(modules.GPWLoss(MultiSimilarity(), HardestNegatives(3)), torch.arange(n) // 2)
