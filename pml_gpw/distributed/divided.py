"""The losses of all anchors, of which each process computes those of its own.

Shapes: N anchors of all processes, n of them one process's, M references, D dims.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from ..engine import AnchorLosses, PairBatch
from ..engine.double_backward import once_differentiable
from .row_partition import RowPartition, sum_over_processes
from .status import in_step

LocalLosses = Callable[[PairBatch], AnchorLosses]


def divided_losses(
    batch: PairBatch,
    partition: RowPartition,
    local: LocalLosses,
    parameters: Sequence[Tensor] = (),
) -> AnchorLosses:
    """The losses of the anchors of all processes, on every process.

    ``local`` computes those of this process's anchors from the batch of all. An error of one
    process, in forward or in backward, is raised on all of them. Gradients are those of the sum of
    what all processes compute from the losses. Each process is given the whole gradient of the
    ``parameters`` of the losses, that of the mean of what all compute: so it is right whether
    somebody averages it over processes or nobody does.
    """
    x, other = batch.anchors, batch.references
    references = None if other is x else other
    forms_gradient = torch.is_grad_enabled()
    link = x[:1].clone()
    arguments = x, references, link, batch, partition, local, forms_gradient
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
        local: LocalLosses,
        forms_gradient: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs_x, needs_references = ctx.needs_input_grad[:2]
        anchors = x.detach().requires_grad_(needs_x and forms_gradient)
        others = anchors
        if references is not None:
            others = references.detach().requires_grad_(needs_references and forms_gradient)

        def losses() -> AnchorLosses:
            with torch.set_grad_enabled(forms_gradient):
                found = local(batch.with_embeddings(anchors, others))
            return _checked(found, partition, anchors.dtype)

        found = in_step(partition.group, losses)
        ctx.partition = partition
        ctx.leaves = anchors, None if references is None else others, *parameters
        ctx.local_losses = found.losses
        ctx.save_for_backward(link)
        (gathered,) = partition.all_gather(torch.stack(found, dim=1))
        total, num_pos, num_neg = gathered.unbind(dim=1)
        ctx.mark_non_differentiable(num_pos, num_neg)
        return total, num_pos, num_neg

    @staticmethod
    @override
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (total,) = sum_over_processes(ctx.partition.group, upstream)
        assert total is not None
        (link,) = ctx.saved_tensors
        group = ctx.partition.group
        gradients = in_step(
            group, lambda: _gradients(ctx.local_losses, total[ctx.partition.local], ctx.leaves)
        )
        if len(gradients) > 2:
            shares = sum_over_processes(group, *gradients[2:])
            world = dist.get_world_size(group)
            gradients[2:] = [None if share is None else share / world for share in shares]
        if torch.is_grad_enabled():  # with create_graph=True
            gradients = once_differentiable(gradients, link)
        return *gradients[:2], None, None, None, None, None, *gradients[2:]


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


def _gradients(
    losses: Tensor, upstream: Tensor, leaves: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """The gradients of leaves; None for those that need none."""
    needed = [leaf for leaf in leaves if leaf is not None and leaf.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(needed)
    if losses.requires_grad:
        found = torch.autograd.grad(losses, needed, upstream, retain_graph=True, allow_unused=True)
    given = iter(found)
    gradients: list[Tensor | None] = []
    for leaf in leaves:
        if leaf is None or not leaf.requires_grad:
            gradients.append(None)
        else:
            gradient = next(given)
            gradients.append(torch.zeros_like(leaf) if gradient is None else gradient)
    return gradients
