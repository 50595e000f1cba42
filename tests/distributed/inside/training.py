"""A network under DistributedDataParallel, whole and in chunks: one loss, one reduction."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss, ms_variant
from pml_gpw.distributed import DistributedLoss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.losses import CrossBatchMemory

from ...tolerances import close
from ..partition import SIZES, composed, sharded

STEPS, CHUNK_SIZE = 4, 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def in_parts(net):
    """As with a trunk and a head that are wrapped each for itself."""
    return nn.Sequential(*(DistributedDataParallel(part) for part in (net[:1], net[1:])))


def searched(net):
    """With a look for parameters that took no part."""
    return DistributedDataParallel(net, find_unused_parameters=True)


def one_graph(model, loss):
    def step(x, labels):
        value = loss(model(x), labels)
        value.backward()
        return value.detach()

    return step


def trained(model, step, local):
    """Values and weights after some steps; the parts change, so do the numbers of chunks."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sizes, values = SIZES[dist.get_world_size()], []
    for turn in range(STEPS):
        at = turn % len(sizes)
        batch = sharded(sizes[at:] + sizes[:at], seed=turn)
        optimizer.zero_grad()
        values.append(step(*(batch.part if local else (batch.x, batch.labels))))
        optimizer.step()
    return [*values, *(parameter.detach() for parameter in model.parameters())]


LOSSES = [
    lambda: (MSLoss(), None),
    lambda: (MSWeightedLoss(), MSMiner(0.3)),
    lambda: ms_variant("N")[::-1],
    lambda: (CrossBatchMemory(MSLoss(), 4, 60), None),
]


def check_training():
    """In one graph and in chunks, under every wrapper, as one process trains."""
    start = [parameter.detach() for parameter in network().parameters()]
    wrappers = DistributedDataParallel, searched, in_parts
    for number, make in enumerate(LOSSES):
        alone = network()
        loss, miner = make()
        step = one_graph(alone, loss if miner is None else composed(loss, miner))
        one = trained(alone, step, local=False)
        whole = DistributedDataParallel(network())
        results = [trained(whole, one_graph(whole, DistributedLoss(*make())), local=True)]
        for wrap in wrappers if number == 0 else wrappers[:1]:
            model = wrap(network())
            cached = GradientCache(model, DistributedLoss(*make()), CHUNK_SIZE)
            results.append(trained(model, cached, local=True))
        for many in results:
            for a, b in zip(many, one, strict=True):
                close(a, b, 1e-9)
        for weights, before in zip(one[STEPS:], start, strict=True):
            assert (weights - before).abs().max() > 1e-3, "nothing was trained"


def check_gradients_that_are_summed_or_accumulated():
    """Without DistributedDataParallel the loss over world_size, and a sum; of two losses, too."""
    batch, world = sharded(), dist.get_world_size()
    other = ms_variant("S")[1]
    one, *many = (network() for _ in range(4))
    graph, chunked, ddp = many[0], many[1], DistributedDataParallel(many[2])

    def both(x, labels, wrap=lambda loss: loss):
        return wrap(MSLoss())(x, labels) + 2 * wrap(other)(x, labels)

    def divided(x, labels):
        return both(x, labels, DistributedLoss) / world

    for _ in range(2):
        one_graph(one, both)(batch.x, batch.labels)
        one_graph(graph, divided)(*batch.part)
        GradientCache(chunked, divided, CHUNK_SIZE)(*batch.part)
        one_graph(ddp, lambda x, y: both(x, y, DistributedLoss))(*batch.part)
    for net in many[:2]:
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
    for net in many:
        for found, expected in zip(net.parameters(), one.parameters(), strict=True):
            close(found.grad, expected.grad)


def check_gradients_are_reduced_once():
    """Where backward for each chunk by itself would reduce them once a chunk."""
    batch, counted = sharded((10,) * dist.get_world_size()), []

    def count(_, bucket):
        counted.append(bucket)
        return allreduce_hook(None, bucket)

    ddp = DistributedDataParallel(network())  # which fits one bucket
    ddp.register_comm_hook(None, count)
    GradientCache(ddp, DistributedLoss(MSLoss()), CHUNK_SIZE)(*batch.part)
    assert len(counted) == 1
    for chunk in batch.part[0].split(CHUNK_SIZE):
        ddp(chunk).sum().backward()
    assert len(counted) == 5, "the probe sees nothing"


def check_static_graphs_are_refused():
    ddp = DistributedDataParallel(network(), static_graph=True)
    for model in (ddp, nn.Sequential(ddp)):
        with pytest.raises(ValueError, match=r"model must be .* got static_graph=True"):
            GradientCache(model, DistributedLoss(MSLoss()), CHUNK_SIZE)


def check_buffers_start_from_those_of_rank_0():
    """As DistributedDataParallel has it, and then they move once per chunk."""
    net = network()
    net.insert(1, nn.BatchNorm1d(16).double())
    batch = sharded((9, 15, 8, 12)[: dist.get_world_size()])
    ddp = DistributedDataParallel(net)
    step = GradientCache(ddp, DistributedLoss(MSLoss()), 5)
    for _ in range(3):
        alone = copy.deepcopy(net)
        for buffer in alone.buffers():
            dist.broadcast(buffer, 0)
        step(*batch.part)
        with torch.no_grad():
            for chunk in batch.part[0].tensor_split(-(-len(batch.part[0]) // 5)):
                alone(chunk)
        for name, buffer in alone.named_buffers():
            close(net.get_buffer(name), buffer)
    first = net[1].running_mean.clone()
    dist.broadcast(first, 0)
    if dist.get_rank() != 0:
        assert not first.equal(net[1].running_mean), "all are the same anyway"
