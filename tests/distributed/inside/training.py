"""A network under DistributedDataParallel, which averages gradients over processes."""

import copy

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss, ms_variant
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory

from ...tolerances import close
from ..partition import SIZES, partitioned_batch

STEPS = 20


def network():
    torch.manual_seed(0)
    layers = torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4)
    return torch.nn.Sequential(*layers).double()


def train(model, loss, local):
    """The weights after some steps, with parts that change from step to step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sizes = SIZES[dist.get_world_size()]
    for step in range(STEPS):
        turn = step % len(sizes)
        batch = partitioned_batch(sizes[turn:] + sizes[:turn], seed=step)
        x, labels = batch.part if local else (batch.x, batch.labels)
        optimizer.zero_grad()
        loss(model(x), labels).backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def check_training():
    start = [parameter.detach() for parameter in network().parameters()]
    for make in (
        lambda: (MSLoss(), None),
        lambda: (MSWeightedLoss(), MSMiner(0.3)),
        lambda: ms_variant("N")[::-1],
        lambda: (CrossBatchMemory(MSLoss(), 4, 60), None),
    ):
        (alone, miner), (loss, _) = make(), make()

        def composed(x, labels, loss=alone, miner=miner):
            return loss(x, labels, None if miner is None else miner(x, labels))

        one = train(network(), composed, local=False)
        ddp = DistributedDataParallel(network())
        many = train(ddp, DistributedLoss(loss, miner), local=True)
        for a, b, before in zip(many, one, start, strict=True):
            close(a, b, 1e-9)
            assert (a - before).abs().max() > 1e-3, "nothing was trained"


def check_gradients_that_are_summed():
    """Without DistributedDataParallel: the loss over world_size, and a sum."""
    batch = partitioned_batch()
    one, many = network(), network()
    MSLoss()(one(batch.x), batch.labels).backward()
    (
        DistributedLoss(MSLoss())(many(batch.part[0]), batch.part[1]) / dist.get_world_size()
    ).backward()
    for a, b in zip(many.parameters(), one.parameters(), strict=True):
        dist.all_reduce(a.grad)
        close(a.grad, b.grad)


def check_steps_of_two_losses_and_of_accumulated_gradients():
    batch = partitioned_batch()
    one = network()
    many = DistributedDataParallel(copy.deepcopy(one))
    loss, other = DistributedLoss(MSLoss()), DistributedLoss(ms_variant("S")[1])
    for _ in range(2):
        embeddings = one(batch.x)
        (MSLoss()(embeddings, batch.labels) + 2 * other.loss(embeddings, batch.labels)).backward()
        embeddings = many(batch.part[0])
        (loss(embeddings, batch.part[1]) + 2 * other(embeddings, batch.part[1])).backward()
    for a, b in zip(many.parameters(), one.parameters(), strict=True):
        close(a.grad, b.grad)
