"""Probes of what an operation does, beside its result."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


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


class WouldWait(AssertionError):
    """An operation that makes the host wait for an accelerator."""


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait if tensors were on an accelerator.

    Values that are looked at, results whose size depends on values, and tensors that are made of
    host values and would have to be copied.
    """

    WAITS = frozenset(
        {
            "_local_scalar_dense",
            "_unique2",
            "bincount",
            "equal",
            "histc",
            "is_nonzero",
            "lift_fresh",
            "masked_select",
            "multinomial",
            "nonzero",
            "repeat_interleave",
            "unique_consecutive",
            "unique_dim",
        }
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.WAITS or by_mask:
            raise WouldWait(f"{name} makes the host wait")
        return func(*args, **(kwargs or {}))
