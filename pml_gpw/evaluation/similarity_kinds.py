"""Each kind of similarity as an inner product of float64 vectors of norm at most 1.

A search by inner product then serves every kind, and one error bound holds for all of them.
The scales of two queries may differ, which does not change the order of the references of either.

Shapes: N queries, M references, C rows of a chunk, D dims, E = D or D + 1 dims of the
vectors.
"""

from collections.abc import Callable

import torch
from torch import Tensor

VectorMap = Callable[[Tensor], Tensor]  # float64 embeddings (C, D) -> float64 vectors (C, E)
SimilarityKind = Callable[..., tuple[VectorMap, VectorMap]]  # of the queries, of the references

CHUNK_ROWS = 256  # rows converted at a time: their float64 copy fits in a processor's cache


def cosine(reference: Tensor) -> tuple[VectorMap, VectorMap]:
    """``q·r / (|q| |r|)``, and 0 for a zero vector."""
    return normalized, normalized


def dot(reference: Tensor) -> tuple[VectorMap, VectorMap]:
    """``q·r``, as ``(q/|q|)·(r/R)`` with R the largest norm of the references (M, D)."""
    largest = _largest_norm(reference, 0.0)
    return normalized, lambda rows: rows / largest


def l2(reference: Tensor) -> tuple[VectorMap, VectorMap]:
    """``-|q - r|²``, as ``[q, 1]·[r, -|r|²/2]``.

    The mean of the references (M, D) is subtracted from q and r, and both are divided by the
    largest distance of a reference from it: a common offset would otherwise use up the digits.
    """
    mean = reference.sum(dim=0, dtype=torch.float64) / len(reference)
    largest = _largest_norm(reference, mean)

    def query_vectors(rows: Tensor) -> Tensor:
        rows = (rows - mean) / largest
        return normalized(torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1))

    def reference_vectors(rows: Tensor) -> Tensor:
        rows = (rows - mean) / largest
        half_squares = rows.square().sum(dim=1, keepdim=True) / 2
        return torch.cat([rows, -half_squares], dim=1) / 1.25**0.5

    return query_vectors, reference_vectors


SIMILARITY_KINDS: dict[str, SimilarityKind] = {"cosine": cosine, "dot": dot, "l2": l2}


def normalized(rows: Tensor) -> Tensor:
    """Rows (C, D) scaled to norm 1; a zero row stays zero."""
    rows = rows / _zero_to_one(rows.abs().amax(dim=1, keepdim=True))  # keeps squares in range
    return rows / _zero_to_one(torch.linalg.vector_norm(rows, dim=1, keepdim=True))


def to_vectors(vector_map: VectorMap, rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The vectors (N, E) of embeddings (N, D), computed in float64 and stored as ``dtype``."""
    dims = vector_map(rows[:1].double()).shape[1]
    vectors = rows.new_empty((len(rows), dims), dtype=dtype)
    for target, source in zip(vectors.split(CHUNK_ROWS), rows.split(CHUNK_ROWS), strict=True):
        target.copy_(vector_map(source.double()))
    return vectors


def _largest_norm(rows: Tensor, offset: Tensor | float) -> float:
    """The largest norm of ``rows - offset``, or 1 where it is 0."""
    largest = 0.0
    for chunk in rows.split(CHUNK_ROWS):
        chunk = chunk.double() - offset
        scale = chunk.abs().amax()  # keeps squares in range, as in normalized
        norms = torch.linalg.vector_norm(chunk / _zero_to_one(scale), dim=1)
        largest = max(largest, float(norms.amax() * scale))
    return largest or 1.0


def _zero_to_one(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, 1.0)
