"""Checks that run in each process of a group."""

import torch

from pml_gpw import modules
from pml_gpw.distributed import DistributedLoss
from pml_gpw.weightings import MultiSimilarity

from ..distributed.partition import equal, partitioned_batch, run


def check_losses():
    batch = partitioned_batch()
    for reduction in ("mean", "sum", "mean_of_nonzero"):
        loss = modules.MSLoss(reduction=reduction)
        one = run(loss, batch.x, batch.labels)
        equal(run(DistributedLoss(loss), *batch.part), one, batch.rows)


def check_miners():
    batch = partitioned_batch()
    loss, miner = modules.GPWLoss(MultiSimilarity(), trainable=("base",)), modules.MSMiner()
    one = run(loss, batch.x, batch.labels, miner(batch.x, batch.labels))
    equal(run(DistributedLoss(loss, miner), *batch.part), one, batch.rows)


def check_memories():
    alone, together = (modules.CrossBatchMemory(modules.MSLoss(), 5, 60) for _ in range(2))
    for seed in range(3):
        batch = partitioned_batch(seed=seed)
        one = run(alone, batch.x, batch.labels)
        equal(run(DistributedLoss(together), *batch.part), one, batch.rows)
    assert torch.equal(alone.embedding_memory, together.embedding_memory)
