"""The pairs of all anchors, chunk by chunk; the N×M matrix is never held.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mining import MSMining
from ..weightings.rows import DenseRows, Rows
from .candidates import Candidates, Listed, mined
from .few import limit, listed_rows
from .symmetric import mined_among_themselves

CHUNK_ELEMENTS = {"cpu": 2**21, "cuda": 2**25}
"""Similarities held at a time, by device: in float32 8 MB, as a CPU's cache holds, or 128 MB."""

LEAST_ROWS = 64
"""Anchors per chunk at least, where each chunk adds to the gradients of all references."""

SMALL = 2**15
"""Matrices up to this size are faster masked than searched for the pairs that count."""

Chunk = tuple[slice, Rows, Rows]


@dataclass(frozen=True)
class Pairing:
    """Which pairs are candidates, which of them are kept, and how many anchors are a chunk."""

    candidates: Candidates
    mining: MSMining | None
    chunk_size: int


def default_chunk_size(references: Tensor) -> int:
    """Anchors per chunk for references (M, D)."""
    elements = CHUNK_ELEMENTS.get(references.device.type, CHUNK_ELEMENTS["cuda"])
    least = LEAST_ROWS if references.requires_grad else 16
    return max(least, elements // max(1, len(references)))


def walk(x: Tensor, y: Tensor, pairing: Pairing, dense: bool = False) -> Iterator[Chunk]:
    """The anchors, positive rows and negative rows of each chunk, valid until the next one.

    Shapes: anchors ``x`` (N, D), references ``y`` (M, D); ``y is x`` in self-comparison.
    ``dense``: rows come masked, whatever their number of pairs.
    """
    # Other devices have no sparse products.
    dense = dense or len(x) * len(y) <= SMALL or x.device.type not in CHUNK_ELEMENTS
    if not dense and (rows := _all_at_once(x, y, pairing)) is not None:
        yield slice(0, len(x)), *rows
        return
    size = max(1, min(pairing.chunk_size, len(x)))
    buffer = x.new_empty((size, len(y)))
    for start in range(0, len(x), size):
        anchors = slice(start, min(start + size, len(x)))
        sim = torch.mm(x[anchors], y.T, out=buffer[: anchors.stop - start])
        yield anchors, *(_masked if dense else _searched)(sim, start, pairing)


def _all_at_once(x: Tensor, y: Tensor, pairing: Pairing) -> tuple[Rows, Rows] | None:
    """The rows of all anchors where their pairs are few and quicker to have than all products."""
    candidates, mining = pairing.candidates, pairing.mining
    if isinstance(candidates, Listed):
        if sum(len(places) for places in candidates.places) > limit(len(x), len(y)):
            return None
        pos, neg = listed_rows(x, y, candidates)
        return (pos, neg) if mining is None else mined(pos, neg, mining)
    if mining is None or y is not x or len(x) <= pairing.chunk_size:
        return None
    if not candidates.within_batch:
        return None
    return mined_among_themselves(x, candidates, mining, pairing.chunk_size)


def _masked(sim: Tensor, start: int, pairing: Pairing) -> tuple[Rows, Rows]:
    pos, neg = pairing.candidates.masks(start, start + len(sim))
    if pairing.mining is not None:
        pos, neg = pairing.mining(sim, pos, neg)
    return DenseRows(sim, pos), DenseRows(sim, neg)


def _searched(sim: Tensor, start: int, pairing: Pairing) -> tuple[Rows, Rows]:
    pos, neg = pairing.candidates.rows(sim, start, pairing.mining)
    return (pos, neg) if pairing.mining is None else mined(pos, neg, pairing.mining)
