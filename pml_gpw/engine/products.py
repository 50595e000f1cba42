"""Similarities of a chunk of anchors after the other, in memory that is made once.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..checks import finite_similarities
from .task import Task


def iter_products(
    x: Tensor, y: Tensor, task: Task, all_rows: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The anchors and similarities (C, M) of each chunk, in one buffer: valid until the next.

    ``all_rows`` (N, M): where they stand side by side, and stay valid.
    Errors: ValueError for similarities that are not finite.
    """
    n = x.shape[0]
    size = max(1, min(task.program.chunk_size, n))
    buffer = x.new_empty(size, y.shape[0]) if all_rows is None else all_rows
    for start in range(0, n, size):
        anchors = slice(start, min(start + size, n))
        sim, some = buffer, x
        if size < n:
            sim = buffer[: anchors.stop - start] if all_rows is None else buffer[anchors]
            some = x[anchors]
        torch.mm(some, y.T, out=sim)
        if task.program.checks_products:
            finite_similarities(sim, task.context.first_anchor + start)
        yield anchors, sim
