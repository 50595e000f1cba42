"""Batch normalisation of two processes is that of one with all images."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pml_gpw.backbones import freeze_batch_norm
from pml_gpw.training import BatchNormOverProcesses, convert_batch_norm


def norm_and_input():
    generator = torch.Generator().manual_seed(0)
    norm = nn.Sequential(nn.BatchNorm2d(3)).double()
    nn.init.uniform_(norm[0].weight)
    images = torch.randn(9, 3, 4, 5, generator=generator, dtype=torch.float64) + 2
    target = torch.randn(9, 3, 4, 5, generator=generator, dtype=torch.float64)
    return norm, images, target


def check_batch_norm():
    """As one process with all images, also where another has more of them."""
    torch.manual_seed(0)
    norm, images, target = norm_and_input()
    torch.manual_seed(0)
    mine, _, _ = norm_and_input()
    mine = convert_batch_norm(mine)
    share = slice(0, 2) if dist.get_rank() == 0 else slice(2, 9)
    whole, own = images.clone().requires_grad_(), images[share].clone().requires_grad_()
    expected, got = norm(whole), mine(own)
    torch.testing.assert_close(got, expected[share], rtol=1e-12, atol=1e-12)
    ((expected - target) ** 2).sum().backward()
    # the sum over processes of what each returns is the whole
    ((got - target[share]) ** 2).sum().backward()
    torch.testing.assert_close(own.grad, whole.grad[share], rtol=1e-10, atol=1e-10)
    for theirs, ours in zip(norm.parameters(), mine.parameters(), strict=True):
        dist.all_reduce(ours.grad)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)
    for (name, theirs), ours in zip(norm.named_buffers(), mine.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    torch.testing.assert_close(mine.eval()(own), norm.eval()(whole)[share])


def check_frozen_statistics_stay():
    frozen = freeze_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))
    kind = type(frozen[0])
    assert type(convert_batch_norm(frozen)[0]) is kind


def check_without_parameters_or_statistics():
    """Every kind of layer, in training and in evaluation."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 3, 4, 5, generator=generator) + 2
    share = slice(0, 2) if dist.get_rank() == 0 else slice(2, 6)
    for kind in ({"affine": False}, {"track_running_stats": False}, {"momentum": None}):
        theirs, ours = nn.BatchNorm2d(3, **kind), BatchNormOverProcesses(3, **kind)
        for _ in range(3):
            torch.testing.assert_close(ours(images[share]), theirs(images)[share])
        torch.testing.assert_close(ours.eval()(images[share]), theirs.eval()(images)[share])
        for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(mine, other)


def check_half_precision():
    """Statistics are formed in float32: bfloat16 cannot even count the 32,072 pixels."""
    images = torch.randn(8, 1, 19, 211, generator=torch.Generator().manual_seed(0)) + 3
    images = images.bfloat16()
    share = slice(0, 5) if dist.get_rank() == 0 else slice(5, 8)
    theirs, ours = nn.BatchNorm2d(1), BatchNormOverProcesses(1)
    expected, got = theirs(images.float()), ours(images[share])
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected[share], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_without_a_group_it_is_that_of_torch():
    torch.manual_seed(0)
    norm, images, _ = norm_and_input()
    torch.manual_seed(0)
    mine, _, _ = norm_and_input()
    torch.testing.assert_close(convert_batch_norm(mine.train())(images), norm(images))


@pytest.mark.parametrize(
    "check",
    [
        check_batch_norm,
        check_frozen_statistics_stay,
        check_without_parameters_or_statistics,
        check_half_precision,
    ],
)
def test_in_two_processes(pair, check):
    pair.run(__name__, check.__name__)
