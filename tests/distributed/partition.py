"""A batch that several processes hold parts of, and the comparison with one process."""

from typing import NamedTuple

import torch
import torch.distributed as dist

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


def partitioned_batch(sizes=SIZES, dtype=torch.float64, seed=0):
    """The same batch on every process: six loose classes, and three labels that are alone.

    So some process has no anchor with a positive, where one has row 10 or 11 to itself.
    """
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
    """The value and what backward leaves on the embeddings."""
    leaf = x.clone().requires_grad_()
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
