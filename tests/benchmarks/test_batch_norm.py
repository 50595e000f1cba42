"""Batch normalisation of two processes is that of one with all images."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from benchmarks.batch_norm import over_processes
from pml_gpw.backbones import freeze_batch_norm


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
    mine = over_processes(mine)
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
    assert type(over_processes(frozen)[0]) is kind


@pytest.mark.parametrize("check", [check_batch_norm, check_frozen_statistics_stay])
def test_in_two_processes(pair, check):
    pair.run(__name__, check.__name__)
