"""The losses of all anchors, of which each process computes those of its own.

Shapes: N anchors of all processes, n of them one process's, M references, D dims.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from ..engine import AnchorLosses, PairBatch
from ..engine.double_backward import once_differentiable
from .exchange import Exchange, Sums


def divided_losses(
    batch: PairBatch,
    anchors: slice,
    exchange: Exchange,
    local: Callable[[PairBatch], AnchorLosses],
    parameters: Sequence[Tensor] = (),
) -> AnchorLosses:
    """The losses of the anchors of all processes, on every process.

    ``local`` computes those of this process's ``anchors`` from the batch of all. The next message
    that the ``exchange`` expects is that of the losses, (n, 3) of each process. An error of one
    process, in forward or in backward, is raised on all of them. Gradients are those of the sum of
    what all processes compute from the losses. Each process is given the whole gradient of the
    ``parameters`` of the losses, that of the mean of what all compute: so it is right whether
    somebody averages it over processes or nobody does.
    """
    x, others = batch.anchors, batch.references
    forms_gradient = torch.is_grad_enabled()

    def losses(x: Tensor, others: Tensor) -> AnchorLosses:
        with torch.set_grad_enabled(forms_gradient):
            found = local(batch.with_embeddings(x, others))
        return _checked(found, anchors.stop - anchors.start, x.dtype)

    rows = x, None if others is x else others, x[:1].clone()
    found = _DividedLosses.apply(*rows, (exchange, anchors, losses), *parameters)
    return AnchorLosses(*found)


class _DividedLosses(torch.autograd.Function):
    """The graph of the local losses lives inside, so that an error in its backward can be told."""

    @staticmethod
    @override
    def forward(
        ctx: Any, x: Tensor, references: Tensor | None, link: Tensor, step: Any, *fields: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        exchange, ctx.local, losses = step
        needs_x, needs_references = ctx.needs_input_grad[:2]
        anchors = others = x.detach().requires_grad_(needs_x)
        if references is not None:
            others = references.detach().requires_grad_(needs_references)
        found = losses(anchors, others)
        ctx.exchange, ctx.local_losses = exchange, found.losses
        ctx.leaves = anchors, None if references is None else others, *fields
        ctx.save_for_backward(link)
        assert exchange.expected is not None
        (gathered,) = exchange.expected.send(torch.stack(found, dim=1))
        total, num_pos, num_neg = gathered.unbind(dim=1)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return total, num_pos, num_neg

    @staticmethod
    @override
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        exchange, leaves = ctx.exchange, ctx.leaves
        needed = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
        num_rows = len(needed) - len(leaves[2:])  # parameters come last
        message = Sums(exchange, [upstream])
        with exchange.errors(keep=True):  # room for the next messages, before this one is sent
            exchange.sums = {rows.numel(): Sums(exchange, [rows]) for rows in needed[:num_rows]}
            shares = Sums(exchange, needed[num_rows:]) if leaves[2:] else None
        (total,) = message.send(upstream)
        found = [leaf.new_zeros(()).expand(leaf.shape) for leaf in needed]  # without memory
        with exchange.errors(keep=True):
            if ctx.local_losses.requires_grad:
                options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
                mine = total[ctx.local]
                found = [*torch.autograd.grad(ctx.local_losses, needed, mine, **options)]
        if shares is not None:
            found[num_rows:] = [s / exchange.world for s in shares.send(*found[num_rows:])]
        given = iter(found)
        gradients = [
            None if leaf is None or not leaf.requires_grad else next(given) for leaf in leaves
        ]
        if torch.is_grad_enabled():  # with create_graph=True
            gradients = once_differentiable(gradients, *ctx.saved_tensors)
        return *gradients[:2], None, None, *gradients[2:]


def _checked(losses: AnchorLosses, length: int, dtype: torch.dtype) -> AnchorLosses:
    """The losses of this process, of the shape and dtype that the others expect."""
    for values in losses:
        if values.shape != (length,) or values.dtype != dtype:
            raise ValueError(
                f"anchor_losses must return tensors of ({length},) {dtype}, "
                f"got {tuple(values.shape)} {values.dtype}"
            )
    return losses
