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
from .row_partition import RowPartition

LocalLosses = Callable[[PairBatch], AnchorLosses]


def divided_losses(
    batch: PairBatch,
    partition: RowPartition,
    exchange: Exchange,
    local: LocalLosses,
    parameters: Sequence[Tensor] = (),
) -> AnchorLosses:
    """The losses of the anchors of all processes, on every process.

    ``local`` computes those of this process's anchors from the batch of all. The next message that
    the ``exchange`` expects is that of the losses, (n, 3) of each process. An error of one
    process, in forward or in backward, is raised on all of them. Gradients are those of the sum of
    what all processes compute from the losses. Each process is given the whole gradient of the
    ``parameters`` of the losses, that of the mean of what all compute: so it is right whether
    somebody averages it over processes or nobody does.
    """
    x, other = batch.anchors, batch.references
    references = None if other is x else other
    forms_gradient = torch.is_grad_enabled()
    link = x[:1].clone()
    arguments = x, references, link, batch, partition, exchange, local, forms_gradient
    found = _DividedLosses.apply(*arguments, *parameters)
    return AnchorLosses(*found)


class _DividedLosses(torch.autograd.Function):
    """The graph of the local losses lives inside, so that an error in its backward can be told."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        x: Tensor,
        references: Tensor | None,
        link: Tensor,
        batch: PairBatch,
        partition: RowPartition,
        exchange: Exchange,
        local: LocalLosses,
        forms_gradient: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_x, needs_references = ctx.needs_input_grad[:2]
        anchors = x.detach().requires_grad_(needs_x and forms_gradient)
        others = anchors
        if references is not None:
            others = references.detach().requires_grad_(needs_references and forms_gradient)

        with torch.set_grad_enabled(forms_gradient):
            found = local(batch.with_embeddings(anchors, others))
        found = _checked(found, partition, anchors.dtype)
        ctx.partition, ctx.exchange = partition, exchange
        ctx.leaves = anchors, None if references is None else others, *parameters
        ctx.local_losses = found.losses
        ctx.save_for_backward(link)
        assert exchange.expected is not None
        (gathered,) = exchange.expected.send(torch.stack(found, dim=1))
        total, num_pos, num_neg = gathered.unbind(dim=1)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return total, num_pos, num_neg

    @staticmethod
    @override
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (link,) = ctx.saved_tensors
        exchange, leaves = ctx.exchange, ctx.leaves
        message, of_parameters = Sums(exchange, [upstream]), None
        with exchange.kept_errors():  # room for the next messages, before this one is sent
            of_rows = [Sums(exchange, [leaf]) for leaf in leaves[:2] if _is_needed(leaf)]
            exchange.sums = {sums.room.numel() - 1: sums for sums in of_rows}
            if leaves[2:]:
                of_parameters = Sums(exchange, leaves[2:])
        (total,) = message.send(upstream)
        gradients: list[Any] = [_zeros(leaf) if _is_needed(leaf) else None for leaf in leaves]
        with exchange.kept_errors():
            if ctx.local_losses.requires_grad:
                gradients = _gradients(ctx.local_losses, total[ctx.partition.local], leaves)
        if of_parameters is not None:
            shares = of_parameters.send(*gradients[2:])
            gradients[2:] = [share / exchange.world for share in shares]
        if torch.is_grad_enabled():  # with create_graph=True
            gradients = once_differentiable(gradients, link)
        return *gradients[:2], None, None, None, None, None, None, *gradients[2:]


def _checked(losses: AnchorLosses, partition: RowPartition, dtype: torch.dtype) -> AnchorLosses:
    """The losses of this process, of the shape and dtype that the others expect."""
    length = partition.sizes[partition.rank]
    for values in losses:
        if values.shape != (length,) or values.dtype != dtype:
            raise ValueError(
                f"anchor_losses must return tensors of ({length},) {dtype}, "
                f"got {tuple(values.shape)} {values.dtype}"
            )
    return losses


def _is_needed(leaf: Tensor | None) -> bool:
    return leaf is not None and leaf.requires_grad


def _zeros(leaf: Tensor) -> Tensor:
    """Zeros like a leaf that take no memory, of which there may be too little."""
    return leaf.new_zeros(()).expand(leaf.shape)


def _gradients(
    losses: Tensor, upstream: Tensor, leaves: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """The gradients of leaves; None for those that need none."""
    needed = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    found = iter(
        torch.autograd.grad(
            losses, needed, upstream, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )
    return [next(found) if _is_needed(leaf) else None for leaf in leaves]
