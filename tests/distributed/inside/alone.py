"""A group of one process."""

import torch

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ..partition import partitioned_batch, run


def check_is_the_loss_itself():
    batch = partitioned_batch((24,), torch.float32)
    x, labels, mask = batch.x, batch.labels, torch.arange(24) % 2 == 0
    for one, many in (
        (run(MSLoss(), x, labels), run(DistributedLoss(MSLoss()), x, labels)),
        (
            run(MSWeightedLoss(), x, labels, MSMiner()(x, labels)),
            run(DistributedLoss(MSWeightedLoss(), MSMiner()), x, labels),
        ),
        (
            run(CrossBatchMemory(MSLoss(), 5), x, labels, None, mask),
            run(DistributedLoss(CrossBatchMemory(MSLoss(), 5)), x, labels, enqueue_mask=mask),
        ),
    ):
        assert all(a.equal(b) for a, b in zip(one, many, strict=True))


def fails():
    raise AssertionError("on purpose")
