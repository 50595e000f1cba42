"""A batch that several processes hold parts of, and the comparison with one process."""

import copy
from typing import NamedTuple

import torch
import torch.distributed as dist

from pml_gpw.distributed import DistributedLoss

from ..tolerances import FLOAT32, FLOAT64, close

SIZES = {2: (9, 15), 3: (11, 1, 12), 4: (10, 1, 0, 13)}
REF_SIZES = {2: (20, 3), 3: (7, 16, 0), 4: (0, 5, 11, 7)}


class PartitionedBatch(NamedTuple):
    """A batch, and which of its rows are this process's."""

    x: torch.Tensor
    labels: torch.Tensor
    rows: slice

    @property
    def part(self):
        return self.x[self.rows], self.labels[self.rows]


def sharded(sizes=SIZES, dtype=torch.float64, seed=0):
    """Six loose classes, and three labels alone, so that some process has no positive pair."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    sizes = sizes[dist.get_world_size()] if isinstance(sizes, dict) else sizes
    start, n = sum(sizes[:rank]), sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(6, (n,), generator=generator)
    centres = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 5, generator=generator, dtype=torch.float64)
    x = (centres[labels] + 0.6 * noise).to(dtype)
    lone = [row for row in (1, 10, 11) if row < n]
    labels[lone] = 6 + torch.arange(len(lone))
    return PartitionedBatch(x, labels, slice(start, start + sizes[rank]))


def run(loss, x, *args, scale=1, **kwargs):
    """The value and what backward leaves on the embeddings; random rules draw from one state."""
    leaf = x.clone().requires_grad_()
    torch.manual_seed(11)
    value = loss(leaf, *args, **kwargs)
    (value * scale).backward()
    return value.detach(), leaf.grad


def equal(many, one, rows):
    """Value and gradient are those of one process, the gradient as for an average over ranks."""
    tolerance = FLOAT64 if many[1].dtype == torch.float64 else 10 * FLOAT32
    close(many[0], one[0], tolerance)
    expected = dist.get_world_size() * one[1][rows]
    scale = max(1.0, float(one[1].abs().max()))
    close(many[1] / scale, expected / scale, tolerance)


def compare(one, batch, many=None, refs=None, labels=None, scale=1):
    """A loss of the parts, ``many`` or a copy of ``one``, is that of the whole, parameters too."""
    many = DistributedLoss(copy.deepcopy(one)) if many is None else many
    labels = batch.labels if labels is None else labels
    of_one = [*one.parameters()] if isinstance(one, torch.nn.Module) else []
    for parameter in (*of_one, *many.parameters()):
        parameter.grad = None
    whole, own = ((), ()) if refs is None else ((None, *refs[:2]), (None, *refs.part))
    expected = run(one, batch.x, labels, *whole, scale=scale)
    found = run(many, batch.x[batch.rows], labels[batch.rows], *own, scale=scale)
    equal(found, expected, batch.rows)
    for parameter, other in zip(many.parameters(), of_one, strict=True):
        close(parameter.grad, other.grad)


def compare_memories(alone, steps=4, labels=None):
    """A memory and its copy over processes, step by step."""
    memory = copy.deepcopy(alone)
    many = DistributedLoss(memory)
    for seed in range(steps):
        compare(alone, sharded(seed=seed), many, labels=labels)
        assert memory.embedding_memory.equal(alone.embedding_memory)
        assert memory.label_memory.equal(alone.label_memory)
        assert memory.get_extra_state() == alone.get_extra_state()


def composed(loss, miner):
    """A loss of the pairs that a miner finds, as it is written in one process."""

    def of_whole(x, labels, _=None, *refs):
        return loss(x, labels, None if miner is None else miner(x, labels, *refs), *refs)

    return of_whole
