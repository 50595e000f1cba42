"""What is wrong on one process is raised on all, and none is left waiting."""

from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import PairWeighting, PairWeights

from ..partition import equal, partitioned_batch, run

THREE = {world: (3,) * world for world in (2, 3, 4)}


def at_fault():
    return dist.get_rank() == dist.get_world_size() - 1


def raised_on_all(loss, *args, message, kind=ValueError, **kwargs):
    with pytest.raises(kind, match=message):
        loss(*args, **kwargs)


def still_in_step():
    batch = partitioned_batch()
    one = run(MSLoss(), batch.x, batch.labels)
    equal(run(DistributedLoss(MSLoss()), *batch.part), one, batch.rows)


def from_last(message):
    last = dist.get_world_size() - 1
    return f"^rank {last} of {last + 1}: {message}"


def spoiled(x):
    x = x.clone()
    x[0, 0] = float("nan")
    return x


def check_one_bad_batch():
    x, labels = partitioned_batch(THREE).part
    pairs = tuple(torch.tensor([i]) for i in (0, 1, 0, 2))
    beyond = tuple(torch.tensor([i]) for i in (0, 3 * dist.get_world_size(), 0, 2))
    wrong = {
        "embeddings must be finite, got NaN": (spoiled(x), labels),
        "embeddings must be a torch.Tensor, got list": (x.tolist(), labels),
        r"embeddings must have shape \(N, D\)": (x[0], labels),
        "labels must have shape": (x, labels[1:]),
        "labels must be integers": (x, labels + 0.5),
        "ref_emb must have the 5 dimensions": (x, labels, None, x[:, 1:], labels),
        "ref_labels must have shape": (x, labels, None, x, labels[1:]),
        r"indices_tuple must hold positive indices in \[0, \d+\), got": (x, labels, beyond),
        "indices_tuple must be .* got 2 tensors": (x, labels, pairs[:2]),
        "each of indices_tuple must be a tensor of integers": (
            x,
            labels,
            tuple(p + 0.5 for p in pairs),
        ),
    }
    right = {2: (x, labels), 3: (x, labels, pairs), 5: (x, labels, None, x, labels)}
    for message, args in wrong.items():
        loss = DistributedLoss(MSLoss())
        args = args if at_fault() else right[len(args)]
        raised_on_all(loss, *args, message=from_last(message))
        still_in_step()


def check_values_are_looked_at_at_once():
    """Where other calls would report later, as on accelerators: or ranks would raise apart."""
    x, labels = partitioned_batch(THREE).part
    with deferred_checks():
        args = (spoiled(x), labels) if at_fault() else (x, labels)
        message = "embeddings must be finite, got NaN"
        raised_on_all(DistributedLoss(MSLoss()), *args, message=from_last(message))
    still_in_step()


def check_batches_that_do_not_fit():
    x, labels = partitioned_batch(THREE).part
    refs = x.clone()
    for message, args, other in (
        (
            r"embeddings must be the same on all ranks, got .*\(n, 5\), .*\(n, 4\)",
            (x, labels),
            (x[:, 1:], labels),
        ),
        ("embeddings must be the same .*float64.*, .*float32", (x, labels), (x.float(), labels)),
        (
            "labels must be the same on all ranks, got torch.int64 .*, .*None",
            (x, labels),
            (x, None),
        ),
        ("ref_emb must .*got None, .*float64", (x, labels), (x, labels, None, refs, labels)),
        (
            "ref_emb must be the same .*float32",
            (x, labels, None, refs, labels),
            (x, labels, None, refs.float(), labels),
        ),
    ):
        raised_on_all(DistributedLoss(MSLoss()), *(other if at_fault() else args), message=message)
        still_in_step()
    raised_on_all(DistributedLoss(MSLoss()), x, message="rank 0 .*labels or indices_tuple must be")
    still_in_step()


@dataclass(frozen=True)
class FailsOnOne(PairWeighting):
    def weigh(self, pos, neg):
        if at_fault():
            raise RuntimeError("out of memory")
        return PairWeights(pos.sim + 2, neg.sim + 2)


class MinerFailsOnOne(MSMiner):
    def mine(self, *args):
        if at_fault():
            raise KeyError("nothing found")
        return super().mine(*args)


def check_failures_on_the_way():
    x, labels = partitioned_batch(THREE).part
    failing = DistributedLoss(GPWLoss(FailsOnOne()))
    raised_on_all(failing, x, labels, message=from_last("out of memory"), kind=RuntimeError)
    still_in_step()
    loss = DistributedLoss(MSWeightedLoss(), MinerFailsOnOne())
    message = from_last("'nothing found'")
    raised_on_all(loss, x, labels, message=message, kind=RuntimeError)
    still_in_step()


def check_memory():
    x, _ = partitioned_batch(THREE).part
    labels = torch.tensor([0, 0, 1])
    pairs = tuple(torch.tensor([i]) for i in (0, 1, 0, 2))
    memory = CrossBatchMemory(MSLoss(), 5, 40)
    loss = DistributedLoss(memory)
    contradicting = pairs[2:] + pairs[:2] if at_fault() else pairs
    message = from_last("indices_tuple must agree with the labels")
    raised_on_all(loss, x, labels, contradicting, message=message)
    mask = torch.tensor([True, False, False])
    message = from_last(r"enqueue_mask must be a tensor of \(3,\) booleans")
    bad = mask[1:] if at_fault() else mask
    raised_on_all(loss, x, labels, message=message, enqueue_mask=bad)
    raised_on_all(loss, x[:, 1:], labels, message="embeddings must have the 5 dimensions .*memory")
    raised_on_all(loss, x, labels, None, x, labels, message="rank 0 .*ref_emb must be None")
    assert memory.queue_idx == 0
    still_in_step()
    raised_on_all(
        DistributedLoss(MSLoss()), x, labels, enqueue_mask=mask, message="enqueue_mask must be None"
    )
    raised_on_all(
        DistributedLoss(MSWeightedLoss(), MSMiner()),
        x,
        labels,
        pairs,
        message="indices_tuple must be None where the loss has a miner",
    )
    still_in_step()


def check_groups():
    """The processes of a group stand for themselves; others are told that they are none of it."""
    first = dist.new_group([0, 1])
    loss = DistributedLoss(MSLoss(), group=first)
    if dist.get_rank() > 1:
        raised_on_all(
            loss, *partitioned_batch().part, message="group must have this process as a member"
        )
        return
    batch = partitioned_batch((9, 15) + (0,) * (dist.get_world_size() - 2))
    one = run(MSLoss(), batch.x, batch.labels)
    many = run(loss, *batch.part)
    equal((many[0], many[1] / 2 * dist.get_world_size()), one, batch.rows)
