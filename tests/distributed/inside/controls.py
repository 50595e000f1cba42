"""Wrong gradients must fail the comparison that the right ones pass; and PML's own wrappers."""

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.utils import distributed as theirs

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ..partition import equal, run, sharded


def even():
    """What PML's wrappers take: as many on every process; here two of each label at least."""
    batch = sharded((8,) * dist.get_world_size())
    return batch._replace(labels=torch.arange(len(batch.x)) % 6)


def check_wrong_gradients_fail():
    batch, world = even(), dist.get_world_size()
    one = run(MSLoss(), batch.x, batch.labels)
    value, right = run(DistributedLoss(MSLoss()), *batch.part)
    equal((value, right), one, batch.rows)
    for wrong in (right / world, right.roll(1, 0), run(MSLoss(), *batch.part)[1]):
        with pytest.raises(AssertionError):
            equal((value, wrong), one, batch.rows)
    shuffled = run(DistributedLoss(MSLoss()), batch.part[0], batch.part[1].roll(1))
    with pytest.raises(AssertionError):
        equal(shuffled, one, batch.rows)


def check_wrappers_of_pml():
    """The right gradient for an average, but world_size times the value; others need a new call."""
    world, batch = dist.get_world_size(), even()
    for loss, miner in ((MSLoss(), None), (MSWeightedLoss(), MSMiner())):
        mined = None if miner is None else miner(batch.x, batch.labels)
        one = run(loss, batch.x, batch.labels, mined)
        of_theirs = None if miner is None else theirs.DistributedMinerWrapper(miner)(*batch.part)
        value, gradient = run(theirs.DistributedLossWrapper(loss), *batch.part, of_theirs)
        equal((value / world, gradient), one, batch.rows)
    alone, inside = (CrossBatchMemory(MSLoss(), 5, 200) for _ in range(2))
    for step in range(3):
        x = batch.x + 0.1 * step
        value, gradient = run(theirs.DistributedLossWrapper(inside), x[batch.rows], batch.part[1])
        equal((value / world, gradient), run(alone, x, batch.labels), batch.rows)


def check_tuples_of_the_miner_wrapper_of_pml():
    """They number one's own embeddings first; so do tuples that our loss is given."""
    batch = even()
    one = run(MSLoss(), batch.x, batch.labels)
    for efficient in (False, True):
        mined = theirs.DistributedMinerWrapper(MSMiner(), efficient)(*batch.part)
        equal(run(DistributedLoss(MSWeightedLoss()), *batch.part, mined), one, batch.rows)
