"""Reductions over references in shards, one shard a process."""

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from ..evaluation.reductions import Reductions
from .status import all_gather_status, on_wire


class GroupReductions(Reductions):
    """Reductions over the processes of a group, whose shards have ``shard_sizes`` by rank.

    Each reduction begins with a message that says whether all processes are well, so that an error
    of one reaches the others wherever they wait.
    """

    def __init__(self, group: dist.ProcessGroup | None, shard_sizes: list[int]) -> None:
        self.group = group
        self.reference_offset = sum(shard_sizes[: dist.get_rank(group)])
        self.num_shards = len(shard_sizes)

    @override
    def maximum(self, values: Tensor) -> Tensor:
        return self._all_reduce(values, dist.ReduceOp.MAX)

    @override
    def minimum(self, values: Tensor) -> Tensor:
        return self._all_reduce(values, dist.ReduceOp.MIN)

    @override
    def sum(self, values: Tensor) -> Tensor:
        return self._all_reduce(values, dist.ReduceOp.SUM)

    @override
    def concatenate(self, values: Tensor) -> Tensor:
        all_gather_status(self.group)
        sent = on_wire(self.group, values)
        received = [torch.empty_like(sent) for _ in range(self.num_shards)]
        dist.all_gather(received, sent, self.group)
        return torch.cat(received, dim=1).to(values.device)

    def _all_reduce(self, values: Tensor, op: "dist.ReduceOp.RedOpType") -> Tensor:
        all_gather_status(self.group)
        reduced = on_wire(self.group, values)
        dist.all_reduce(reduced, op, self.group)
        return reduced.to(values.device)
