"""Frozen batch normalization: statistics stay, scale and shift are trained."""

import copy
import pickle

import pytest
import torch
from torch import nn

from pml_gpw.backbones import freeze_batch_norm


def images():
    return torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def initialised():
    torch.manual_seed(0)
    head = nn.Sequential(nn.LazyLinear(6), nn.BatchNorm1d(6))
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), head)
    net(images())  # lazy layers take their shape, statistics leave their initial values
    return net


def moved(net, images=images):
    """Names of the statistics that a training step changes."""
    before = {n: b.clone() for n, b in net.named_buffers()}
    net.train()(images()).square().sum().backward()
    return {n for n, b in net.named_buffers() if not torch.equal(b, before[n])}


def replica(net):
    """A copy as DataParallel makes it of each module, on the device where it is."""
    made = net._replicate_for_data_parallel()
    made._modules = {n: replica(child) for n, child in net._modules.items()}
    made._parameters = dict(net._parameters)
    made._buffers = dict(net._buffers)
    return made


@pytest.mark.parametrize(
    "copied",
    [
        lambda net: net,
        freeze_batch_norm,  # twice is once
        lambda net: copy.deepcopy(pickle.loads(pickle.dumps(copy.deepcopy(net)))),
        replica,
    ],
)
def test_statistics_stay_and_scale_and_shift_learn(copied):
    net = copied(freeze_batch_norm(initialised()))
    assert not moved(net)
    assert net.training
    assert net[4].training
    assert torch.equal(net(images()), net.eval()(images()))
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [type(layer).__name__ for layer in layers] == ["FrozenBatchNorm2d", "FrozenBatchNorm1d"]
    for layer in layers:
        assert not layer.training
        assert layer.weight.grad.abs().sum() > 0
        assert layer.bias.grad.abs().sum() > 0


def test_state_dicts_pass_both_ways():
    net, plain = freeze_batch_norm(initialised()), initialised()
    assert list(net.state_dict()) == list(plain.state_dict())
    plain[1].running_mean.fill_(3)
    net.load_state_dict(plain.state_dict())
    assert net[1].running_mean.tolist() == [3] * 4
    assert not moved(net)
    plain.load_state_dict(net.state_dict())
    assert moved(plain) == {n for n, _ in plain.named_buffers()}


def test_nothing_to_freeze():
    net = nn.Sequential(nn.Linear(3, 3), nn.InstanceNorm1d(3, track_running_stats=True)).train()
    assert freeze_batch_norm(net) is net
    assert all(m.training for m in net.modules())
