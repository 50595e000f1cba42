"""Probes of what an operation does, beside its result."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure.counts import waits


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements that any operation returned and holds."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                held = value._nnz() if value.layout == torch.sparse_csr else value.numel()
                self.numel = max(self.numel, held)
        return result


class Products(TorchDispatchMode):
    """Counts the multiply-adds of matrix products, dense and sparse."""

    PRODUCTS = ("addmm", "addmm_", "mm")

    def __init__(self):
        super().__init__()
        self.multiply_adds = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name.removeprefix("aten::") in self.PRODUCTS:
            one, other = args[-2:]
            held = one._nnz() if one.layout == torch.sparse_csr else one.numel()
            self.multiply_adds += held * other.shape[1]
        return func(*args, **(kwargs or {}))


class WouldWait(AssertionError):
    """An operation that makes the host wait for an accelerator."""


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait if tensors were on an accelerator.

    Values that are looked at, results whose size depends on values, and tensors that are made of
    host values and would have to be copied.
    """

    WAITS = ("histc", "lift_fresh", "multinomial")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if name in self.WAITS or waits(func, args):
            raise WouldWait(f"{name} makes the host wait")
        return func(*args, **(kwargs or {}))
