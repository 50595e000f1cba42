"""Items of a data set as batches: tensors, texts, and structures of these."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from .. import checks


def collate(items: list[Any]) -> Any:
    """A batch of the items of a data set, as torch makes it, or a ValueError that shows one."""
    try:
        return default_collate(items)
    except (TypeError, RuntimeError) as error:
        got = ", ".join(checks.described(part) for part in items[0])
        say = f"items must make batches, as tensors of one shape do, got ({got}): give a transform"
        raise ValueError(say) from error


def to_device(items: Any, device: torch.device) -> Any:
    """Return a batch with all of its tensors on a device; what is no tensor stays as it is.

    Mappings, lists and tuples are looked into. Images (B, C, H, W) get the memory format channels
    last. Nothing waits for a copy from pinned memory.

    >>> moved = to_device({"ids": [torch.zeros(2, 3)], "texts": ["a", "b"]}, torch.device("meta"))
    >>> moved["ids"][0].device, moved["texts"]
    (device(type='meta'), ['a', 'b'])
    """
    if isinstance(items, Tensor):
        layout = torch.channels_last if items.ndim == 4 else torch.preserve_format
        return items.to(device, non_blocking=True, memory_format=layout)
    if isinstance(items, Mapping):
        return {name: to_device(item, device) for name, item in items.items()}
    if isinstance(items, list | tuple):
        return [to_device(item, device) for item in items]
    return items
