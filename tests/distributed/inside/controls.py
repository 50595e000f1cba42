"""Wrong gradients must fail the comparison that the right ones pass; and PML's own wrappers."""

from unittest import mock

import torch
import torch.distributed as dist
from pytorch_metric_learning.utils.distributed import (
    DistributedLossWrapper,
    DistributedMinerWrapper,
)

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss, gathered_rows
from pml_gpw.losses import CrossBatchMemory

from ..partition import equal, partitioned_batch, run


def even():
    """What PML's wrappers take: as many on every process; here two of each label at least."""
    batch = partitioned_batch((8,) * dist.get_world_size())
    return batch._replace(labels=torch.arange(len(batch.x)) % 6)


def fails(many, one, rows):
    try:
        equal(many, one, rows)
    except AssertionError:
        return True
    return False


def check_owed_gradients_matter():
    batch = even()
    one = run(MSLoss(), batch.x, batch.labels)
    world = dist.get_world_size()

    def kept(ctx, upstream):
        return world * upstream[ctx.local], None, None, None

    with mock.patch.object(gathered_rows.GatheredRows, "backward", staticmethod(kept)):
        many = run(DistributedLoss(MSLoss()), *batch.part)
    assert fails(many, one, batch.rows)
    equal((many[0], world * one[1][batch.rows]), one, batch.rows)  # the value is right, though
    assert fails((many[0], one[1][batch.rows]), one, batch.rows), "the scale is not looked at"
    shuffled = run(DistributedLoss(MSLoss()), batch.part[0], batch.part[1].roll(1))
    assert fails(shuffled, one, batch.rows)


def check_wrapper_of_pml():
    """The right gradient for an average, but world_size times the value; others need a new call."""
    world, batch = dist.get_world_size(), even()
    for loss, miner in ((MSLoss(), None), (MSWeightedLoss(), MSMiner())):
        mined = None if miner is None else miner(batch.x, batch.labels)
        one = run(loss, batch.x, batch.labels, mined)
        theirs = None if miner is None else DistributedMinerWrapper(miner)(*batch.part)
        value, gradient = run(DistributedLossWrapper(loss), *batch.part, theirs)
        equal((value / world, gradient), one, batch.rows)


def check_efficient_wrapper_of_pml_is_wrong():
    batch = even()
    one = run(MSWeightedLoss(), batch.x, batch.labels)
    many = run(DistributedLossWrapper(MSWeightedLoss(), efficient=True), *batch.part)
    ratio = many[1].norm() / (dist.get_world_size() * one[1][batch.rows]).norm()
    assert ratio > 1.2, "PML has mended it: drop this check"
    assert fails(many, one, batch.rows)


def check_memory_in_the_wrapper_of_pml():
    alone, inside = CrossBatchMemory(MSLoss(), 5, 200), CrossBatchMemory(MSLoss(), 5, 200)
    for step in range(3):
        batch = even()
        x = batch.x + 0.1 * step
        one = run(alone, x, batch.labels)
        value, gradient = run(DistributedLossWrapper(inside), x[batch.rows], batch.part[1])
        equal((value / dist.get_world_size(), gradient), one, batch.rows)


def check_tuples_of_the_miner_wrapper_of_pml():
    """They number one's own embeddings first; so do tuples that our loss is given."""
    batch = even()
    one = run(MSLoss(), batch.x, batch.labels)
    for efficient in (False, True):
        mined = DistributedMinerWrapper(MSMiner(), efficient)(*batch.part)
        equal(run(DistributedLoss(MSWeightedLoss()), *batch.part, mined), one, batch.rows)
