"""Modules to experiment with, which leave nothing behind."""

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ..engine import PairBatch


def copy_of(module: Any) -> Any:
    """A copy to experiment with: nothing that is done to it reaches the original or its hooks."""
    parts = module.modules() if isinstance(module, torch.nn.Module) else ()
    replaced: dict[int, Any] = {}
    for part in parts:
        for name, value in vars(part).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                replaced[id(value)] = type(value)()
            elif isinstance(value, Tensor) and not value.is_leaf:  # state of a step, with its graph
                replaced[id(value)] = value.detach().clone()
    return copy.deepcopy(module, replaced)


def same_random_numbers(embeddings: Tensor | PairBatch) -> AbstractContextManager[None]:
    """A context after which torch's random numbers go on as if nothing had been drawn in it."""
    tensor = embeddings.anchors if isinstance(embeddings, PairBatch) else embeddings
    on_gpu = isinstance(tensor, Tensor) and tensor.is_cuda
    return torch.random.fork_rng([tensor.device] if on_gpu else [])
