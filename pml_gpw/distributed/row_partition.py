"""Which process has which rows, and rows brought from all of them.

Shapes: N rows of all processes, in the order of ranks; n of them are this process's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from ..precision import at_least_float32, full_precision
from .status import in_step


@dataclass(frozen=True)
class RowPartition:
    """How many rows each process has; ``sizes`` by rank."""

    group: Any
    rank: int
    sizes: tuple[int, ...]

    @property
    def local(self) -> slice:
        """Where this process's rows lie among all."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def local_first(self, device: torch.device) -> Tensor:
        """The places (N,) of this process's rows and then of the others'."""
        places = torch.arange(sum(self.sizes), device=device)
        local = self.local
        return torch.cat([places[local], places[: local.start], places[local.stop :]])

    def all_gather(self, *tensors: Tensor) -> list[Tensor]:
        """The rows (N, ...) of all processes, from this process's (n, ...), of each tensor."""
        return all_gather_rows([(self, rows) for rows in tensors])

    def with_gradient(self, rows: Tensor, gathered: Tensor) -> Tensor:
        """``gathered`` rows (N, D) in at least float32, differentiable by ``rows`` (n, D).

        What flows back is summed over processes: each has the gradient of the sum of what all of
        them compute from the rows.
        """
        return _GatheredRows.apply(rows, gathered, self)

    def _buffers(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Rows padded to the longest of all processes, and room for those of all."""
        padded = rows.new_zeros((max(self.sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        return padded, [torch.empty_like(padded) for _ in self.sizes]

    def _joined(self, parts: list[Tensor]) -> Tensor:
        with full_precision(parts[0]):  # autocast knows no concatenation of some dtypes
            return torch.cat([part[:size] for part, size in zip(parts, self.sizes, strict=True)])


def all_gather_rows(given: Sequence[tuple[RowPartition, Tensor]]) -> list[Tensor]:
    """The rows of all processes, of each partition and tensor.

    All room is made before anything is sent, so that a process without memory is heard.
    """
    if not given:
        return []
    group = given[0][0].group
    given = [(partition, rows.detach()) for partition, rows in given]
    made = in_step(group, lambda: [partition._buffers(rows) for partition, rows in given])
    for padded, parts in made:
        if padded.numel():
            dist.all_gather(parts, padded, group=group)
    return [
        partition._joined(parts) for (partition, _), (_, parts) in zip(given, made, strict=True)
    ]


def sum_over_processes(group: Any, *tensors: Tensor | None) -> list[Tensor | None]:
    """The sums over processes of tensors that are None on all of them or on none."""
    # A reduce-scatter would send half as much, but not every backend has one, nor one for
    # pieces of different sizes.
    totals = in_step(
        group,
        lambda: [
            None if t is None else t.clone(memory_format=torch.contiguous_format) for t in tensors
        ],
    )
    for total in totals:
        if total is not None and total.numel():
            dist.all_reduce(total, group=group)
    return totals


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, rows: Tensor, gathered: Tensor, partition: RowPartition) -> Tensor:
        ctx.partition, ctx.dtype = partition, rows.dtype
        # Widened here and not before: half the bytes on the way, and sums in float32 on the way
        # back.
        wide = at_least_float32(gathered)
        return wide.view_as(wide)

    @staticmethod
    @override
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (total,) = sum_over_processes(ctx.partition.group, upstream)
        assert total is not None
        return total[ctx.partition.local].to(ctx.dtype), None, None
