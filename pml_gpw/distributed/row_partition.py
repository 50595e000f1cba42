"""Which process has which rows, and the gradient of rows that were brought from all of them.

Shapes: N rows of all processes, in the order of ranks; n of them are this process's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ..precision import at_least_float32
from .exchange import Exchange, Sums


@dataclass(frozen=True)
class RowPartition:
    """How many rows each process has; ``sizes`` by rank."""

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


def with_gradient(exchange: Exchange, rows: Tensor, gathered: Tensor, local: slice) -> Tensor:
    """``gathered`` rows (N, D) in at least float32, differentiable by ``rows`` (n, D).

    What flows back is summed over processes: each has the gradient of the sum of what all of
    them compute from the rows.
    """
    return _GatheredRows.apply(rows, gathered, exchange, local)


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any, rows: Tensor, gathered: Tensor, exchange: Exchange, local: slice
    ) -> Tensor:
        ctx.exchange, ctx.local, ctx.dtype = exchange, local, rows.dtype
        # Widened here and not before: half the bytes on the way, and sums in float32 on the way
        # back.
        wide = at_least_float32(gathered)
        return wide.view_as(wide)

    @staticmethod
    @override
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        message = ctx.exchange.sums.pop(upstream.numel(), None)
        if message is None:  # no losses were divided, which make room for it
            with ctx.exchange.errors():
                message = Sums(ctx.exchange, [upstream])
                ctx.exchange.tell()
        (total,) = message.send(upstream)
        return total[ctx.local].to(ctx.dtype), None, None, None
