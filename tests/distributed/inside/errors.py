"""What is wrong on one process is raised on all, and none is left waiting."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from pytorch_metric_learning.reducers import MeanReducer, ThresholdReducer
from torch.utils._python_dispatch import TorchDispatchMode

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.engine.reduction import NONE
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity, PairWeighting, PairWeights

from ..partition import compare, equal, run, sharded
from .faults import at_fault, from_last, raised_on_all, spoiled

THREE = {world: (3,) * world for world in (2, 3, 4)}


def refused(loss, *args, message, kind=ValueError, **kwargs):
    """The error, and that all processes are still in step."""
    raised_on_all(loss, *args, message=message, kind=kind, **kwargs)
    compare(MSLoss(), sharded())


def pairs(*places):
    return tuple(torch.tensor([place]) for place in places)


PAIRS = pairs(0, 1, 0, 2)


def check_one_bad_batch():
    x, labels = sharded(THREE).part
    beyond = pairs(0, 3 * dist.get_world_size(), 0, 2)
    wrong = {
        "embeddings must be finite, got NaN": (spoiled(x), labels),
        "embeddings must be a torch.Tensor, got list": (x.tolist(), labels),
        "labels must have shape": (x, labels[1:]),
        "ref_emb must have the 5 dimensions": (x, labels, None, x[:, 1:], labels),
        r"indices_tuple must hold positive indices in \[0, \d+\), got": (x, labels, beyond),
        "indices_tuple must be .* got 2 tensors": (x, labels, PAIRS[:2]),
        "each of indices_tuple must be a .* integers": (x, labels, [p + 0.5 for p in PAIRS]),
    }
    right = {2: (x, labels), 3: (x, labels, PAIRS), 5: (x, labels, None, x, labels)}
    for message, args in wrong.items():
        args = args if at_fault() else right[len(args)]
        refused(DistributedLoss(MSLoss()), *args, message=from_last(message))
    with deferred_checks():  # as on accelerators, where other calls would report later
        args = (spoiled(x), labels) if at_fault() else (x, labels)
        raised_on_all(DistributedLoss(MSLoss()), *args, message=from_last("embeddings must be fin"))


def check_batches_that_do_not_fit():
    x, labels = sharded(THREE).part
    same, refs = "must be the same on all ranks", (None, x.clone(), labels)
    for message, args, other in (
        (rf"embeddings {same}, got .*\(n, 5\), .*\(n, 4\)", (x, labels), (x[:, 1:], labels)),
        (f"embeddings {same}.*float64.*, .*float32", (x, labels), (x.float(), labels)),
        (f"labels {same}, got torch.int64 .*, .*None", (x, labels), (x, None)),
        (f"ref_emb {same}, got None, .*float64", (x, labels), (x, labels, *refs)),
        (f"ref_emb {same}.*float32", (x, labels, *refs), (x, labels, None, x.float(), labels)),
        ("rank 0 .*labels or indices_tuple must be", (x,), (x,)),
    ):
        refused(DistributedLoss(MSLoss()), *(other if at_fault() else args), message=message)


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


class ReducerFailsOnOne(MeanReducer):
    def element_reduction(self, *args):
        if at_fault():
            raise KeyError("no such class")
        return super().element_reduction(*args)


class LossesOfAnotherKind(MSLoss):
    """They would not fit into what the others send."""

    def anchor_losses(self, batch, reduction=NONE):
        found = super().anchor_losses(batch, reduction)
        return found._replace(losses=found.losses.float()) if at_fault() else found


def with_hook(text):
    """A loss whose hook fails on one process, with a text that may not fit into a message."""

    def fails(*_):
        if at_fault():
            raise LookupError(text)

    loss = MSLoss()
    loss.register_forward_hook(fails)
    return loss


def check_failures_on_the_way():
    x, labels = sharded(THREE).part
    reducing = MSLoss(reducer=ReducerFailsOnOne())
    for loss, message in (
        (DistributedLoss(GPWLoss(FailsOnOne())), "out of memory"),
        (DistributedLoss(MSWeightedLoss(), MinerFailsOnOne()), "'nothing found'"),
        (DistributedLoss(reducing), "'no such class'"),
        (DistributedLoss(CrossBatchMemory(reducing, 5, 40)), "'no such class'"),
        (DistributedLoss(with_hook("a hook")), "a hook"),
        (DistributedLoss(with_hook("word " * 2000)), "word " * 2000),
    ):
        refused(loss, x, labels, message=from_last(message), kind=RuntimeError)
    message = r"anchor_losses must return tensors of \(3,\) torch.float64, got .*float32"
    refused(DistributedLoss(LossesOfAnotherKind()), x, labels, message=from_last(message))


@dataclass(frozen=True)
class FailsWhenAskedAgain(MultiSimilarity):
    """In backward, which asks again where the reducer lets upstream gradients differ."""

    def evaluate(self, pos, neg):
        if len(FailsWhenAskedAgain.asked) > 0 and at_fault():
            raise MemoryError("no room left")
        FailsWhenAskedAgain.asked.append(True)
        return super().evaluate(pos, neg)


FailsWhenAskedAgain.asked = []


class NoRoom(TorchDispatchMode):
    """A process without memory for messages, vectors made in a certain way, of some length."""

    def __init__(self, making, length):
        super().__init__()
        self.making, self.length = making, length

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        is_message = name == self.making and len(args[1]) == 1 and args[1][0] > self.length
        if is_message and at_fault():
            raise MemoryError("no room left")
        return func(*args, **(kwargs or {}))


class AllAnchors(MSLoss):
    def compute_loss(self, *args):
        return super().compute_loss(*args)


def check_no_room_for_messages():
    """Room is made before anything is sent that tells of it, so that no process waits in vain."""
    x, labels = sharded(THREE).part
    x = x.clone().requires_grad_()
    no_room = {"message": from_last("no room left"), "kind": RuntimeError}
    with NoRoom("new_empty", 20):
        raised_on_all(DistributedLoss(MSLoss()), x, labels, **no_room)
    for loss in (MSLoss(), AllAnchors()):
        value = DistributedLoss(loss)(x, labels)
        with NoRoom("new_zeros", 20):
            raised_on_all(value.backward, **no_room)
        assert x.grad is None
    loss = DistributedLoss(GPWLoss(FailsWhenAskedAgain(), reducer=ThresholdReducer(low=0)))
    FailsWhenAskedAgain.asked.clear()
    refused(loss(x, labels).backward, **no_room)
    assert x.grad is None


def check_memory():
    x, _ = sharded(THREE).part
    labels, mask = torch.tensor([0, 0, 1]), torch.tensor([True, False, False])
    memory = CrossBatchMemory(MSLoss(), 5, 40)
    contradicting, short = (PAIRS[2:] + PAIRS[:2], mask[1:]) if at_fault() else (PAIRS, mask)
    of_memory, mined = DistributedLoss(memory), DistributedLoss(MSWeightedLoss(), MSMiner())
    for loss, args, message in (
        (of_memory, (x, labels, contradicting), from_last("indices_tuple must agree with the")),
        (of_memory, (x, labels, *[None] * 3, short), from_last(r"enqueue_mask must .* \(3,\)")),
        (of_memory, (x[:, 1:], labels), "embeddings must have the 5 dimensions .*memory"),
        (of_memory, (x, labels, None, x, labels), "rank 0 .*ref_emb must be None"),
        (of_memory, (x,), "labels must be given: a memory holds them too"),
        (DistributedLoss(MSLoss()), (x, labels, *[None] * 3, mask), "enqueue_mask must be None"),
        (mined, (x, labels, PAIRS), "indices_tuple must be None where the loss has a miner"),
    ):
        refused(loss, *args, message=message)
    assert memory.queue_idx == 0


def check_groups():
    """The processes of a group stand for themselves; others are told that they are none of it."""
    first, world = dist.new_group([0, 1]), dist.get_world_size()
    loss = DistributedLoss(MSLoss(), group=first)
    batch = sharded((9, 15) + (0,) * (world - 2))
    if dist.get_rank() > 1:
        message = "group must have this process as a member"
        raised_on_all(loss, *batch.part, message=message)
        return
    value, gradient = run(loss, *batch.part)
    equal((value, gradient / 2 * world), run(MSLoss(), batch.x, batch.labels), batch.rows)
