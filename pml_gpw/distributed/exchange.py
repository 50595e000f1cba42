"""What the processes of a group tell each other: reports and errors, and their rows.

Shapes: N rows of all processes, in the order of ranks; n of them are one's own.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..inputs import at_least_float32, full_precision


class RankError(ValueError):
    """An error of some process, raised on all of them."""


def agree(group: Any, report: Any = None, error: Exception | None = None) -> list[Any]:
    """The reports of all processes, by rank.

    Errors: RankError on every process where one comes with an ``error``, so that none is left
    waiting for it.
    """
    told = None if error is None else f"{error}" or type(error).__name__
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, (report, told), group)
    for rank, (_, text) in enumerate(everyone):
        if text is not None:
            raise RankError(f"rank {rank} of {len(everyone)}: {text}") from error
    return [report for report, _ in everyone]


@dataclass(frozen=True)
class Shares:
    """How many rows each process has; ``sizes`` by rank."""

    group: Any
    rank: int
    sizes: tuple[int, ...]

    @property
    def own(self) -> slice:
        """Where one's own rows lie among all."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def own_first(self, device: torch.device) -> Tensor:
        """The places (N,) of one's own rows and then of the others'."""
        places = torch.arange(sum(self.sizes), device=device)
        own = self.own
        return torch.cat([places[own], places[: own.start], places[own.stop :]])

    def concatenated(self, rows: Tensor) -> Tensor:
        """The rows (N, ...) of all processes, from one's own (n, ...)."""
        longest = max(self.sizes)
        if longest == 0:
            return rows
        padded = rows.new_zeros((longest, *rows.shape[1:]))  # pieces of one size on every backend
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in self.sizes]
        dist.all_gather(parts, padded, self.group)
        with full_precision(rows):  # autocast knows no concatenation of some dtypes
            return torch.cat([part[:size] for part, size in zip(parts, self.sizes, strict=True)])

    def gathered(self, rows: Tensor) -> Tensor:
        """The same in at least float32, differentiable: what flows back is summed over processes.

        So each process has the gradient of the sum of what all of them compute from the rows.
        """
        return _Gathered.apply(rows, self)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, shares: Shares) -> Tensor:
        ctx.shares, ctx.dtype = shares, rows.dtype
        # Widened here and not before: half the bytes on the way, and sums in float32 on the way
        # back.
        return at_least_float32(shares.concatenated(rows))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        # A reduce-scatter would send half as much, but not every backend has one, nor one for
        # pieces of different sizes.
        total = upstream.clone(memory_format=torch.contiguous_format)
        if total.numel():
            dist.all_reduce(total, group=ctx.shares.group)
        return total[ctx.shares.own].to(ctx.dtype), None
