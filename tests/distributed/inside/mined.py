"""Miners, index tuples and the memory queue."""

import copy

import torch
import torch.distributed as dist
from pytorch_metric_learning import miners

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ..partition import REF_SIZES, equal, partitioned_batch, run


def mined_by_each(batch, miner):
    """What a miner finds in the rows of each process alone, as one tuple of the whole batch."""
    bounds = [None] * dist.get_world_size()
    dist.all_gather_object(bounds, (batch.rows.start, batch.rows.stop))
    tuples = [
        [index + start for index in miner(batch.x[start:stop], batch.labels[start:stop])]
        for start, stop in bounds
    ]
    return [torch.cat(each) for each in zip(*tuples, strict=True)]


def check_tuple_of_the_local_batch():
    """Each process mines among its own; together that is one tuple of blocks."""
    batch = partitioned_batch()
    miner = miners.PairMarginMiner(0.5, 0.5)
    together = mined_by_each(batch, miner)
    one = run(MSWeightedLoss(), batch.x, batch.labels, together)
    loss = DistributedLoss(MSWeightedLoss())
    equal(run(loss, *batch.part, miner(*batch.part)), one, batch.rows)
    equal(run(loss, batch.part[0], None, miner(*batch.part)), one, batch.rows)


def check_only_own_anchors_are_mined():
    batch = partitioned_batch()
    miner = MSMiner(collect_stats=True)
    miner(batch.x, batch.labels)
    every = torch.tensor([miner.num_pos_pairs, miner.num_neg_pairs])
    DistributedLoss(MSWeightedLoss(), miner)(*batch.part)
    own = torch.tensor([miner.num_pos_pairs, miner.num_neg_pairs])
    assert (own < every).all()
    dist.all_reduce(own)
    assert own.equal(every)


def check_miners_of_pml():
    batch, refs = partitioned_batch(), partitioned_batch(REF_SIZES, seed=2)
    for miner in (miners.PairMarginMiner(0.5, 0.5), miners.TripletMarginMiner(0.2)):
        one = run(MSWeightedLoss(), batch.x, batch.labels, miner(batch.x, batch.labels))
        loss = DistributedLoss(MSWeightedLoss(), miner)
        equal(run(loss, *batch.part), one, batch.rows)
        mined = miner(batch.x, batch.labels, refs.x, refs.labels)
        one = run(MSWeightedLoss(), batch.x, batch.labels, mined, refs.x, refs.labels)
        many = run(loss, *batch.part, None, *refs.part)
        equal(many, one, batch.rows)


MEMORIES = {
    "mined inside": lambda: CrossBatchMemory(MSLoss(), 5, 60),
    "composed": lambda: CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner()),
    "miner of PML": lambda: CrossBatchMemory(MSWeightedLoss(), 5, 60, miners.PairMarginMiner()),
    "warm-up": lambda: CrossBatchMemory(MSLoss(), 5, 60, warm_up=2, add_batch_loss=True),
    "composed, with batch": lambda: CrossBatchMemory(
        MSWeightedLoss(), 5, 60, MSMiner(), add_batch_loss=True
    ),
}


def check_memory():
    for make in MEMORIES.values():
        alone, memory = make(), make()
        many = DistributedLoss(memory)
        for step in range(10):
            batch = partitioned_batch(seed=step)
            one = run(alone, batch.x, batch.labels)
            equal(run(many, *batch.part), one, batch.rows)
            assert memory.embedding_memory.equal(alone.embedding_memory)
            assert memory.label_memory.equal(alone.label_memory)
            assert memory.get_extra_state() == alone.get_extra_state()


def check_memory_with_mask_and_tuple():
    alone = CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner(0.01))
    memory = copy.deepcopy(alone)
    many = DistributedLoss(memory)
    for step in range(4):
        batch = partitioned_batch(seed=step)
        mask = torch.arange(24) % 3 == 0
        one = run(alone, batch.x, batch.labels, None, mask)
        ours = run(many, *batch.part, enqueue_mask=mask[batch.rows])
        equal(ours, one, batch.rows)
        assert memory.embedding_memory.equal(alone.embedding_memory)
        extra = miners.PairMarginMiner(0.9, 0.1)
        one = run(alone, batch.x, batch.labels, mined_by_each(batch, extra))
        equal(run(many, *batch.part, extra(*batch.part)), one, batch.rows)
