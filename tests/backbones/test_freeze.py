"""Frozen batch normalisation: statistics stay, scale and shift are trained."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from pml_gpw.backbones import freeze_batch_norm


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), head())


def head():
    return nn.Sequential(nn.LazyLinear(6), nn.BatchNorm1d(6))


def images():
    return torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def initialised():
    net = network()
    net(images())  # lazy layers take their shape, statistics leave their initial values
    return net


def statistics(net):
    return {n: b.clone() for n, b in net.named_buffers()}


def moved(net):
    """Names of the statistics that a training step changes."""
    before = statistics(net)
    net.train()(images()).square().sum().backward()
    return {n for n, b in net.named_buffers() if not torch.equal(b, before[n])}


def test_without_it_the_statistics_move():
    net = initialised()
    assert moved(net) == set(statistics(net))


def copies(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return {
        "itself": net,
        "deepcopy": copy.deepcopy(net),
        "pickle": pickle.loads(pickle.dumps(net)),
        "deepcopy of a pickle": copy.deepcopy(pickle.loads(pickle.dumps(net))),
        "saved whole": torch.load(file, weights_only=False),
        "replica": replica(net),
    }


def replica(net):
    """What DataParallel makes of each module, on the device where it is."""
    made = net._replicate_for_data_parallel()
    made._modules = {n: replica(child) for n, child in net._modules.items()}
    made._parameters = dict(net._parameters)
    made._buffers = dict(net._buffers)
    return made


@pytest.mark.parametrize("kind", copies(freeze_batch_norm(initialised())))
def test_statistics_stay_and_scale_and_shift_learn(kind):
    net = copies(freeze_batch_norm(initialised()))[kind]
    assert not moved(net)
    assert net.training
    assert net[4].training
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(layers) == 2
    for layer in layers:
        assert not layer.training
        assert layer.weight.requires_grad
        assert layer.weight.grad.abs().sum() > 0
        assert layer.bias.grad.abs().sum() > 0


def test_training_computes_as_evaluation_does():
    net = freeze_batch_norm(initialised())
    assert torch.equal(net.train()(images()), net.eval()(images()))


def test_state_dicts_pass_both_ways():
    net, plain = freeze_batch_norm(initialised()), initialised()
    assert list(net.state_dict()) == list(plain.state_dict())
    plain[1].running_mean.fill_(3)
    net.load_state_dict(plain.state_dict())
    assert net[1].running_mean.tolist() == [3] * 4
    assert not moved(net)
    plain.load_state_dict(net.state_dict())
    assert moved(plain)


def test_twice_is_once():
    net = freeze_batch_norm(initialised())
    kinds = [type(m) for m in net.modules()]
    assert freeze_batch_norm(net) is net
    assert [type(m) for m in net.modules()] == kinds
    assert isinstance(net[1], nn.BatchNorm2d)


def test_nothing_to_freeze():
    net = nn.Sequential(nn.Linear(3, 3), nn.InstanceNorm1d(3, track_running_stats=True)).train()
    assert freeze_batch_norm(net) is net
    assert all(m.training for m in net.modules())


def test_not_a_module():
    with pytest.raises(ValueError, match=r"module must be an nn\.Module, got str"):
        freeze_batch_norm("resnet50")
