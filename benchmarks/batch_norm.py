"""Batch normalisation over the batches of all processes, on any device.

``torch.nn.SyncBatchNorm`` is the same for GPUs only.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNormOverProcesses(nn.BatchNorm2d):
    """Normalise (n, C, h, w) by mean and variance of the images of all processes.

    Mean and variance are sums over processes, and so are their gradients: with a loss whose
    backward is the gradient of the sum over processes, all parameters get that of one process.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(n, C, h, w) to the same."""
        if not self.training:
            return super().forward(input)
        count = input.new_tensor(input.numel() / input.shape[1])
        dist.all_reduce(count)
        mean = _over_all(input.sum((0, 2, 3))) / count
        centred = input - mean[:, None, None]
        variance = _over_all(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return centred * scale[:, None, None] + self.bias[:, None, None]

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _over_all(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


class _Sum(torch.autograd.Function):
    """The sum over processes; torch's own differentiable one is deprecated."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        return _summed(upstream)


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def over_processes(module: nn.Module) -> nn.Module:
    """Make the batch normalisations in ``module`` those of all processes, but for frozen ones."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = BatchNormOverProcesses
    return module
