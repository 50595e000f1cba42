"""Batch normalization of two processes is that of one with all images."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pml_gpw.backbones import freeze_batch_norm
from pml_gpw.training import BatchNormOverProcesses, convert_batch_norm


def norm_and_images():
    torch.manual_seed(0)
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    nn.init.uniform_(norm[0].weight)
    nn.init.uniform_(norm[0].bias)
    return norm, torch.randn(9, 3, 4, 5, dtype=torch.float64) + 2


def share(many, few):
    """The images of this process; another may have more of them."""
    return slice(0, few) if dist.get_rank() == 0 else slice(few, many)


def check_values_gradients_and_statistics():
    norm, images = norm_and_images()
    mine = convert_batch_norm(norm_and_images()[0])
    target, own = torch.randn_like(images), share(9, 2)
    whole, part = images.clone().requires_grad_(), images[own].clone().requires_grad_()
    expected, got = norm(whole), mine(part)
    torch.testing.assert_close(got, expected[own], rtol=1e-12, atol=1e-12)
    ((expected - target) ** 2).sum().backward()
    # the sum over processes of what each returns is the whole
    ((got - target[own]) ** 2).sum().backward()
    torch.testing.assert_close(part.grad, whole.grad[own], rtol=1e-10, atol=1e-10)
    for theirs, ours in zip(norm.parameters(), mine.parameters(), strict=True):
        dist.all_reduce(ours.grad)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)
    for (name, theirs), ours in zip(norm.named_buffers(), mine.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    torch.testing.assert_close(mine.eval()(part), norm.eval()(whole)[own])


def check_without_parameters_or_statistics():
    images = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 2
    own = share(6, 2)
    for kind in ({"affine": False}, {"track_running_stats": False}, {"momentum": None}):
        theirs, ours = nn.BatchNorm2d(3, **kind), BatchNormOverProcesses(3, **kind)
        for _ in range(3):
            torch.testing.assert_close(ours(images[own]), theirs(images)[own])
        torch.testing.assert_close(ours.eval()(images[own]), theirs.eval()(images)[own])
        for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(mine, other)


def check_half_precision():
    """Statistics are formed in float32: bfloat16 cannot even count the 32,072 pixels."""
    images = torch.randn(8, 1, 19, 211, generator=torch.Generator().manual_seed(0)) + 3
    images, own = images.bfloat16(), share(8, 5)
    theirs, ours = nn.BatchNorm2d(1), BatchNormOverProcesses(1)
    expected, got = theirs(images.float()), ours(images[own])
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected[own], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


CHECKS = [check_values_gradients_and_statistics, check_without_parameters_or_statistics]


@pytest.mark.parametrize("check", [*CHECKS, check_half_precision])
def test_in_two_processes(pair, check):
    pair.run(__name__, check.__name__)


def test_frozen_statistics_stay():
    frozen = freeze_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))
    kind = type(frozen[0])
    assert type(convert_batch_norm(frozen)[0]) is kind
