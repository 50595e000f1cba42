"""The network in chunks on each process, one loss over all batches, one reduction."""

import copy
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss, gradient_caching
from pml_gpw.distributed import DistributedLoss
from pml_gpw.gradient_caching import GradientCache
from pml_gpw.losses import CrossBatchMemory

from ...tolerances import close
from ..partition import SIZES, partitioned_batch
from .training import network

STEPS, CHUNK_SIZE = 5, 3


def whole(net):
    return DistributedDataParallel(net)


def searched(net):
    """With a look for parameters that took no part."""
    return DistributedDataParallel(net, find_unused_parameters=True)


def in_parts(net):
    """As with a trunk and a head that are wrapped each for itself."""
    return nn.Sequential(*(DistributedDataParallel(part) for part in (net[:1], net[1:])))


def trained(model, step, local):
    """Values and weights after some steps; the parts change, so do the numbers of chunks."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sizes, values = SIZES[dist.get_world_size()], []
    for turn in range(STEPS):
        at = turn % len(sizes)
        batch = partitioned_batch(sizes[at:] + sizes[:at], seed=turn)
        optimizer.zero_grad()
        values.append(step(*(batch.part if local else (batch.x, batch.labels))))
        optimizer.step()
    return [*values, *(parameter.detach() for parameter in model.parameters())]


def one_graph(model, loss, miner=None):
    def step(x, labels):
        embeddings = model(x)
        value = loss(embeddings, labels, None if miner is None else miner(embeddings, labels))
        value.backward()
        return value.detach()

    return step


def check_training_in_chunks():
    start = [parameter.detach() for parameter in network().parameters()]
    for make in (
        lambda: (MSLoss(), None),
        lambda: (MSWeightedLoss(), MSMiner(0.3)),
        lambda: (CrossBatchMemory(MSLoss(), 4, 60), None),
    ):
        alone = network()
        one = trained(alone, one_graph(alone, *make()), local=False)
        for wrap in (whole, searched, in_parts):
            model = wrap(network())
            cached = GradientCache(model, DistributedLoss(*make()), CHUNK_SIZE)
            for a, b in zip(trained(model, cached, local=True), one, strict=True):
                close(a, b, 1e-9)
        for weights, before in zip(one[STEPS:], start, strict=True):
            assert (weights - before).abs().max() > 1e-3, "nothing was trained"


def reductions(model, batch):
    """How often a step reduces the gradients of a network that fits one bucket."""
    counted = []

    def count(group, bucket):
        counted.append(bucket)
        return allreduce_hook(group, bucket)

    ddp = DistributedDataParallel(model)
    ddp.register_comm_hook(None, count)
    GradientCache(ddp, DistributedLoss(MSLoss()), CHUNK_SIZE)(*batch.part)
    return len(counted)


def check_gradients_are_reduced_once():
    assert reductions(network(), partitioned_batch()) == 1
    even = partitioned_batch((10,) * dist.get_world_size())
    with mock.patch.object(gradient_caching, "_replicas", return_value=[]):
        assert reductions(network(), even) == 4, "the probe sees nothing"


def check_static_graphs_are_refused():
    ddp = DistributedDataParallel(network(), static_graph=True)
    for model in (ddp, nn.Sequential(ddp)):
        with pytest.raises(ValueError, match=r"model must be .* got static_graph=True"):
            GradientCache(model, DistributedLoss(MSLoss()), CHUNK_SIZE)


def check_gradients_that_are_summed_after_chunks():
    """Without DistributedDataParallel: the loss over world_size, and a sum; also accumulated."""
    batch, world = partitioned_batch(), dist.get_world_size()
    one, many, ddp = network(), network(), DistributedDataParallel(network())
    loss = DistributedLoss(MSLoss())
    for _ in range(2):
        one_graph(one, MSLoss())(batch.x, batch.labels)
        GradientCache(many, lambda x, y: loss(x, y) / world, CHUNK_SIZE)(*batch.part)
        GradientCache(ddp, loss, CHUNK_SIZE)(*batch.part)
    triples = zip(one.parameters(), many.parameters(), ddp.parameters(), strict=True)
    for expected, summed, averaged in triples:
        dist.all_reduce(summed.grad)
        close(summed.grad, expected.grad)
        close(averaged.grad, expected.grad)


def check_buffers_start_from_those_of_rank_0():
    """As DistributedDataParallel has it, and then they move once per chunk."""
    net = network()
    net.insert(1, nn.BatchNorm1d(16).double())
    batch = partitioned_batch((9, 15, 8, 12)[: dist.get_world_size()])
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
