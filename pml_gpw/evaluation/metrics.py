"""Each metric as an inner product of vectors of norm at most 1, in float64.

A search by inner product then serves every metric, and one error bound holds for all of them.
Scales differ from query to query, which changes no order of references.
Shapes: N queries, M references of a shard, D dims, E = D or D + 1 dims of the vectors.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .shards import ALONE, Shards

Vectors = Callable[[Tensor], Tensor]  # float64 rows (C, D) -> float64 vectors (C, E)


def cosine(reference: Tensor, shards: Shards = ALONE) -> tuple[Vectors, Vectors]:
    """``q·r / (|q| |r|)``, 0 for a zero vector."""
    return unit, unit


def dot(reference: Tensor, shards: Shards = ALONE) -> tuple[Vectors, Vectors]:
    """``q·r``, as ``(q/|q|)·(r/R)`` with R the largest norm of the references (M, D)."""
    largest = _largest_norm(reference, 0.0, shards)
    return unit, lambda rows: rows / largest


def l2(reference: Tensor, shards: Shards = ALONE) -> tuple[Vectors, Vectors]:
    """``-|q - r|²``, as ``[q, 1]·[r, -|r|²/2]``.

    Both are seen from the mean of the references, in units of the largest distance to it: a
    common offset would otherwise use up the digits.
    """
    count = torch.tensor([len(reference)], device=reference.device)
    sums = shards.total(torch.cat([reference.sum(dim=0, dtype=torch.float64), count]))
    centre = sums[:-1] / sums[-1]
    largest = _largest_norm(reference, centre, shards)

    def query_vectors(rows: Tensor) -> Tensor:
        rows = (rows - centre) / largest
        return unit(torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1))

    def reference_vectors(rows: Tensor) -> Tensor:
        rows = (rows - centre) / largest
        half_squares = rows.square().sum(dim=1, keepdim=True) / 2
        return torch.cat([rows, -half_squares], dim=1) / 1.25**0.5

    return query_vectors, reference_vectors


METRICS = {"cosine": cosine, "dot": dot, "l2": l2}

CHUNK = 256  # rows converted at a time: their float64 stays in a processor's cache


def unit(rows: Tensor) -> Tensor:
    """Rows of norm 1; a zero row stays zero. The first division keeps squares in range."""
    rows = rows / _or_one(rows.abs().amax(dim=1, keepdim=True))
    return rows / _or_one(torch.linalg.vector_norm(rows, dim=1, keepdim=True))


def as_vectors(vectors: Vectors, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The vectors (N, E) of all rows (N, D), computed in float64 and kept in ``dtype``."""
    dims = vectors(rows[:1].double()).shape[1]
    out = rows.new_empty((len(rows), dims), dtype=dtype)
    for part, source in zip(out.split(CHUNK), rows.split(CHUNK), strict=True):
        part.copy_(vectors(source.double()))
    return out


def _largest_norm(rows: Tensor, centre: Tensor | float, shards: Shards) -> float:
    largest = 0.0
    for part in rows.split(CHUNK) if len(rows) else ():
        part = part.double() - centre
        size = part.abs().amax()  # keeps squares in range, as in unit
        norms = torch.linalg.vector_norm(part / _or_one(size), dim=1)
        largest = max(largest, float(norms.amax() * size))
    return float(shards.maximum(torch.tensor(largest, dtype=torch.float64))) or 1.0


def _or_one(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)
