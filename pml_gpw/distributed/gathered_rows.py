"""The gradient of rows that were brought from all processes.

Shapes: N rows of all processes, in the order of ranks; n of them are this process's.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ..precision import at_least_float32
from .exchange import Exchange, Sums


class GatheredRows(torch.autograd.Function):
    """Gathered rows (N, D) in at least float32, differentiable by the ``rows`` (n, D) of a process.

    What flows back is summed over processes: each has the gradient of the sum of what all of
    them compute from the rows.
    """

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
