"""The process at fault, and the error that all processes raise."""

import pytest
import torch
import torch.distributed as dist


def at_fault():
    return dist.get_rank() == dist.get_world_size() - 1


def from_last(message):
    last = dist.get_world_size() - 1
    return f"^rank {last} of {last + 1}: {message}"


def raised_on_all(call, *args, message, kind=ValueError, **kwargs):
    with pytest.raises(kind, match=message) as error:
        call(*args, **kwargs)
    assert isinstance(error.value, RuntimeError) == (kind is RuntimeError)


def spoiled(x):
    return torch.full_like(x, torch.nan)
