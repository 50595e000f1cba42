"""Similarities are computed in at least float32, whatever embeddings and autocast are."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor


def at_least_float32(embeddings: Tensor) -> Tensor:
    """bfloat16 and float16 embeddings as float32; float32 and float64 as they are.

    >>> import torch
    >>> at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def full_precision(embeddings: Tensor) -> AbstractContextManager[None]:
    """A context without autocast, so that similarities are not rounded to half precision.

    >>> import torch
    >>> x = torch.rand(2, 3)
    >>> with torch.autocast("cpu", torch.bfloat16), full_precision(x):
    ...     (x @ x.T).dtype
    torch.float32
    """
    device = embeddings.device.type
    if torch.compiler.is_compiling() or _is_autocast_on(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _is_autocast_on(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def engine_context(embeddings: Tensor) -> AbstractContextManager[None]:
    """A context without autocast and without inference mode, in which torch counts no changes.

    >>> import torch
    >>> with torch.inference_mode(), engine_context(torch.rand(2, 3)):
    ...     torch.zeros(1).is_inference()
    False
    """
    if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
        return full_precision(embeddings)
    return _outside_inference_mode(embeddings)


@contextmanager
def _outside_inference_mode(embeddings: Tensor) -> Iterator[None]:
    with torch.inference_mode(False), torch.no_grad(), full_precision(embeddings):
        yield
