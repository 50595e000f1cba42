"""What the processes of a group tell each other: reports and errors, and their rows.

Shapes: N rows of all processes, in the order of ranks; n of them are one's own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..inputs import at_least_float32, full_precision


class RankError(ValueError):
    """An error of some process, raised on all of them."""


def several_processes(group: Any) -> bool:
    """Whether the group has others. Errors: ValueError where this process is none of it."""
    if not (dist.is_available() and dist.is_initialized()):
        return False
    if dist.get_rank(group) < 0:
        raise ValueError("group must have this process as a member")
    return dist.get_world_size(group) > 1


def global_rank(group: Any, rank: int) -> int:
    """What all processes call the one of that rank in the group."""
    return rank if group is None else dist.get_global_rank(group, rank)


def on_wire(group: Any, values: Tensor) -> Tensor:
    """A contiguous copy where the backend of the group takes it: NCCL, on the current GPU only."""
    nccl = dist.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else values.device
    return values.to(device, copy=True, memory_format=torch.contiguous_format)


def agree(group: Any, report: Any = None, error: Exception | None = None) -> list[Any]:
    """The reports of all processes, by rank.

    Errors: RankError on every process where one comes with an ``error``, so that none is left
    waiting for it.
    """
    told = None if error is None else f"{error}" or type(error).__name__
    everyone: list[Any] = [None] * dist.get_world_size(group)
    # A number first: most calls have nothing to tell, and objects take several messages.
    something = torch.tensor([report is not None or told is not None], dtype=torch.int64)
    something = on_wire(group, something)
    dist.all_reduce(something, dist.ReduceOp.MAX, group)
    if not something.item():
        return everyone
    dist.all_gather_object(everyone, (report, told), group)
    for rank, (_, text) in enumerate(everyone):
        if text is not None:
            raise RankError(f"rank {rank} of {len(everyone)}: {text}") from error
    return [report for report, _ in everyone]


@contextmanager
def in_step(group: Any) -> Iterator[None]:
    """An error within becomes one of all processes, which must come to an ``agree`` by then."""
    try:
        yield
    except RankError:
        raise
    except Exception as error:
        agree(group, error=error)  # where the others wait
        raise


def must_be_alike(reports: list[dict[str, Any]]) -> None:
    """Raise a ValueError for what the reports of all ranks do not have in common."""
    for what in reports[0]:
        got = [each[what] for each in reports]
        if len(set(got)) > 1:
            every = ", ".join(str(value) for value in got)
            raise ValueError(f"{what} must be the same on all ranks, got {every}")


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
