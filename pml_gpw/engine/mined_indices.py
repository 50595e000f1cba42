"""The index tuple of all pairs that mining keeps.

Shapes: N anchors, K pairs.
"""

import torch

from .chunks import StreamedBatch, iter_chunks
from .pairs import IndexTuple


def mined_indices(streamed: StreamedBatch) -> IndexTuple:
    """(a1, p, a2, n), each pair once, row by row."""
    parts = []
    for anchors, *both in iter_chunks(streamed):
        (a1, p), (a2, n) = (rows.indices() for rows in both)
        if anchors.start:
            a1, a2 = a1 + anchors.start, a2 + anchors.start
        parts.append((a1, p, a2, n))
    if len(parts) == 1:
        return parts[0]
    nothing = torch.empty(0, dtype=torch.int64, device=streamed.x.device)
    a1, p, a2, n = (torch.cat(each) for each in zip((nothing,) * 4, *parts, strict=True))
    return a1, p, a2, n
