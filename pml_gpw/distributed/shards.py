"""References in shards, one a process: what they tell each other while queries go around.

Shapes: M references of a shard, D dims.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..evaluation.shards import Shards
from .exchange import agree, global_rank, on_wire


class GroupShards(Shards):
    """The shards of the processes of a group, ``sizes`` by rank.

    Whatever is exchanged begins with a message that all is well so far, so that a process with an
    error is heard wherever the others wait for it.
    """

    def __init__(self, group: Any, sizes: list[int]) -> None:
        self.group, self.sizes = group, sizes
        self.start = sum(sizes[: dist.get_rank(group)])

    def maximum(self, values: Tensor) -> Tensor:
        """See ``Shards``."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def minimum(self, values: Tensor) -> Tensor:
        """See ``Shards``."""
        return self._reduced(values, dist.ReduceOp.MIN)

    def total(self, values: Tensor) -> Tensor:
        """See ``Shards``."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def of(self, owner: int, *tensors: Tensor) -> list[Tensor]:
        """Those of the process of rank ``owner``; of the others, shapes and dtypes count."""
        agree(self.group)
        source, received = global_rank(self.group, owner), []
        for values in tensors:
            # Bytes, since not every backend knows every dtype.
            copy = on_wire(self.group, values.contiguous().view(torch.uint8))
            dist.broadcast(copy, source, self.group)
            received.append(copy.view(values.dtype).to(values.device))
        return received

    def _reduced(self, values: Tensor, op: Any) -> Tensor:
        agree(self.group)
        copy = on_wire(self.group, values)
        dist.all_reduce(copy, op, self.group)
        return copy.to(values.device)
