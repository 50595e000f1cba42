"""Batch normalization over the batches of all processes, on any device.

``torch.nn.SyncBatchNorm`` is the same for GPUs only.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import checks


class BatchNormOverProcesses(nn.BatchNorm2d):
    """Batch normalization by mean and variance of the images of all processes.

    Mean and variance are sums over processes, and so are their gradients: with a loss whose
    backward is the gradient of the sum over processes, all parameters get that of one process.
    Processes may have different numbers of images. Statistics are formed in float32 at least. All
    processes of the default group have to call it; without a group it is ``nn.BatchNorm2d``.

    Arguments are those of ``torch.nn.BatchNorm2d``. The input is (n, C, h, w) with the n images of
    this process, and so is the output.

    Errors: ValueError for an input that has not four dimensions.

    Example:
        One process without a group.

        >>> import torch
        >>> from pml_gpw.training import BatchNormOverProcesses
        >>> images = torch.arange(16.0).reshape(2, 2, 2, 2)
        >>> output = BatchNormOverProcesses(2)(images)
        >>> torch.allclose(output, torch.nn.BatchNorm2d(2)(images), atol=1e-6)
        True
    """

    def forward(self, input: Tensor) -> Tensor:
        """The normalized images (n, C, h, w)."""
        self._check_input_dim(input)
        if not (self.training or self.running_mean is None):
            return super().forward(input)
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        pixels = input.numel() // input.shape[1]
        count = _summed(torch.full((), pixels, dtype=torch.int64, device=input.device))
        mean = _over_all(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _over_all(centred.square().sum((0, 2, 3))) / count
        if self.training:
            self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return (centred * scale[:, None, None]).to(input.dtype)
        scale = scale * self.weight
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, if there are some."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share: Any = self.momentum
        if share is None:  # the mean over all batches
            share = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def convert_batch_norm(module: nn.Module) -> nn.Module:
    """Make every ``nn.BatchNorm2d`` of a module a :class:`BatchNormOverProcesses`, in place.

    Parameters, statistics and names stay. Subclasses of ``nn.BatchNorm2d``, such as the frozen ones
    of :func:`pml_gpw.backbones.freeze_batch_norm`, stay what they are.

    Args:
        module: any module.

    Returns:
        The same module.

    Errors: ValueError for what is no ``nn.Module``.

    Example:
        >>> from torch import nn
        >>> from pml_gpw.training import convert_batch_norm
        >>> model = convert_batch_norm(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
        >>> [type(layer).__name__ for layer in model]
        ['BatchNormOverProcesses', 'ReLU']
    """
    checks.instance("module", module, nn.Module)
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = BatchNormOverProcesses
    return module


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
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    return total
