"""Minings, miners, index tuples and memories over processes: the pairs that one process finds."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.distributed as dist
from pytorch_metric_learning import miners

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, PairMiner
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.mining import DistanceWeightedMining, PairMining
from pml_gpw.weightings import MultiSimilarity

from ...cases import MINING_CASES
from ..partition import REF_SIZES, compare, compare_memories, composed, equal, run, sharded


@dataclass(frozen=True)
class AtRandom(PairMining):
    probability: float = 0.5
    seed: int = 3
    is_random: ClassVar[bool] = True

    def select(self, pos, neg):
        return tuple(rows.uniform(self.seed) < self.probability for rows in (pos, neg))


def check_every_mining():
    batch, refs = sharded(), sharded(REF_SIZES, seed=2)
    for rule in (*(case.mining for case in MINING_CASES), AtRandom()):
        loss = GPWLoss(MultiSimilarity(), rule, chunk_size=7)
        for layout in ("auto", "sparse rows", "sparse batch"):
            loss.layout = layout
            compare(loss, batch)
        compare(loss, batch, refs=refs)


def check_every_miner():
    batch, refs = sharded(), sharded(REF_SIZES, seed=2)
    loss, of_pml = MSWeightedLoss(), [miners.PairMarginMiner(0.5, 0.5), miners.TripletMarginMiner()]
    for miner in [*(PairMiner(case.mining) for case in MINING_CASES), *of_pml]:
        for others in (None, refs):
            compare(composed(loss, miner), batch, DistributedLoss(loss, miner), others)


def check_only_the_first_generator_counts():
    """Processes with other seeds draw the same pairs, those of rank 0."""
    batch = sharded()
    loss = GPWLoss(MultiSimilarity(), DistanceWeightedMining(dim=5))
    many = DistributedLoss(loss)

    def of_part(x, labels):
        torch.manual_seed(11 + dist.get_rank())
        return many(x, labels)

    equal(run(of_part, *batch.part), run(loss, batch.x, batch.labels), batch.rows)


class Doubled(GPWLoss):
    """A user's own ``compute_loss`` on top of ours, and one more loss inside."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        terms = super().compute_loss(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        extra = MSWeightedLoss()(embeddings, labels)
        scale = 1 + labels.to(torch.float64)  # so that upstream gradients differ
        terms["loss"]["losses"] = 2 * terms["loss"]["losses"] * scale + extra
        return terms


class ReadsThePairs(GPWLoss):
    """A user's own ``compute_loss`` that changes embeddings, and reads the pairs themselves."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        same = ref_emb is embeddings
        moved = embeddings * 2 + 1
        others = moved if same else ref_emb * 2 + 1
        terms = super().compute_loss(moved, labels, indices_tuple, others, ref_labels)
        a1, p, a2, n = indices_tuple
        extra = (moved[a1] * others[p]).sum() - (moved[a2] * others[n]).sum()
        terms["loss"]["losses"] = terms["loss"]["losses"] + 1e-3 * extra
        return terms


def check_users_own_losses_and_random_rules():
    similar, batch = MultiSimilarity(), sharded()
    for loss, miner in (
        (ReadsThePairs(similar), PairMiner(DistanceWeightedMining(dim=5))),
        (GPWLoss(similar, AtRandom()), PairMiner(AtRandom())),
        (MSWeightedLoss(), PairMiner(AtRandom(0.6))),
    ):
        compare(composed(loss, miner), batch, DistributedLoss(loss, miner))
        compare_memories(CrossBatchMemory(loss, 5, 60, miner), 3)
    for rule in (None, AtRandom(0.7)):
        compare_memories(CrossBatchMemory(Doubled(similar, rule), 5, 60, add_batch_loss=True))


def check_hooks_see_the_batch_and_the_pairs_of_all():
    """Where a hook listens on one process only, too; of a memory once for each loss."""
    batch, first = sharded(), dist.get_rank() == 0
    miner, loss, seen = MSMiner(0.3), MSWeightedLoss(), []
    if first:
        loss.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    DistributedLoss(loss, miner)(*batch.part)
    if first:
        pairs = seen[0].pairs.index_tuple()
        expected = miner(batch.x, batch.labels)
        assert all(a.equal(b) for a, b in zip(pairs, expected, strict=True))
    DistributedLoss(CrossBatchMemory(loss, 5, 60, add_batch_loss=True))(*batch.part)
    assert [len(each.anchors) for each in seen] == [24] * 3 * first


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
    batch = sharded()
    miner, loss = miners.PairMarginMiner(0.5, 0.5), DistributedLoss(MSWeightedLoss())
    one = run(MSWeightedLoss(), batch.x, batch.labels, mined_by_each(batch, miner))
    for labels in (batch.part[1], None):
        equal(run(loss, batch.part[0], labels, miner(*batch.part)), one, batch.rows)


def check_only_own_anchors_are_mined():
    batch = sharded()
    miner = MSMiner(collect_stats=True)
    miner(batch.x, batch.labels)
    every = torch.tensor([miner.num_pos_pairs, miner.num_neg_pairs])
    DistributedLoss(MSWeightedLoss(), miner)(*batch.part)
    own = torch.tensor([miner.num_pos_pairs, miner.num_neg_pairs])
    assert (own < every).all()
    dist.all_reduce(own)
    assert own.equal(every)


def check_memories():
    for memory in (
        CrossBatchMemory(MSLoss(), 5, 60),
        CrossBatchMemory(MSWeightedLoss(), 5, 60, miners.PairMarginMiner()),
        CrossBatchMemory(MSLoss(), 5, 60, warm_up=2, add_batch_loss=True),
        CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner(), add_batch_loss=True),
    ):
        compare_memories(memory, 6)


def check_memory_with_mask_and_tuple():
    alone, memory = (CrossBatchMemory(MSWeightedLoss(), 5, 60, MSMiner(0.01)) for _ in range(2))
    many = DistributedLoss(memory)
    for step in range(4):
        batch = sharded(seed=step)
        mask = torch.arange(24) % 3 == 0
        one = run(alone, batch.x, batch.labels, None, mask)
        equal(run(many, *batch.part, enqueue_mask=mask[batch.rows]), one, batch.rows)
        assert memory.embedding_memory.equal(alone.embedding_memory)
        extra = miners.PairMarginMiner(0.9, 0.1)
        one = run(alone, batch.x, batch.labels, mined_by_each(batch, extra))
        equal(run(many, *batch.part, extra(*batch.part)), one, batch.rows)
