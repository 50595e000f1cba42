"""The index tuple of all pairs that mining keeps.

Shapes: N anchors, K pairs.
"""

import torch

from .chunks import StreamedBatch, iter_chunks
from .pairs import IndexTuple


def mined_indices(streamed: StreamedBatch) -> IndexTuple:
    """(a1, p, a2, n), each pair once, row by row."""
    nothing = torch.empty(0, dtype=torch.int64, device=streamed.x.device)
    parts = [(nothing,) * 4]
    for anchors, *both in iter_chunks(streamed):
        (a1, p), (a2, n) = (rows.indices() for rows in both)
        parts.append((a1 + anchors.start, p, a2 + anchors.start, n))
    a1, p, a2, n = (torch.cat(each) for each in zip(*parts, strict=True))
    return a1, p, a2, n
