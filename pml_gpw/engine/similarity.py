"""What a similarity is to the engine.

Shapes: N anchors, M references, D dims.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Similarity(Protocol):
    """How similar anchors and references are; larger is closer.

    >>> similarity: Similarity = InnerProduct()
    >>> similarity.is_negated_distance
    False
    """

    @property
    def is_negated_distance(self) -> bool:
        """Whether S = −D, so that levels on the similarity axis change their sign."""

    @property
    def is_inner_product(self) -> bool:
        """Whether the similarities are the inner products of ``factors``."""

    def factors(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Two matrices (N, D) and (M, D) whose inner products are the similarities.

        One object where the arguments are one.
        """

    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        """The similarities (N, M)."""


@dataclass(frozen=True)
class InnerProduct:
    """The cosine similarity, or the inner product of embeddings as they are.

    >>> import torch
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> InnerProduct(normalized=True).matrix(x, x)
    tensor([[1.]])
    """

    normalized: bool = True
    is_negated_distance: bool = False
    is_inner_product: bool = True

    def factors(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """The embeddings, normalised where the similarity is the cosine."""
        if not self.normalized:
            return anchors, references
        x = unit_rows(anchors)
        return x, x if references is anchors else unit_rows(references)

    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        """The similarities (N, M)."""
        x, y = self.factors(anchors, references)
        return x @ y.T


SAFE_NORMS = (1e-12, 1e12)
"""Rows of these norms have squares far from the ends of float32."""


def unit_rows(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) of Euclidean norm 1; rows of zeros stay zeros."""
    return normalize(within_range(embeddings), dim=1)


def within_range(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) whose squared norms neither overflow nor underflow, in the same directions.

    Rows are scaled by powers of two, which is exact. On a CPU rows of ordinary size are left as
    they are; elsewhere a look at them would wait.
    """
    if embeddings.device.type == "cpu" and not torch.compiler.is_compiling():
        norms = torch.linalg.vector_norm(embeddings.detach(), dim=1)
        if len(norms) == 0:
            return embeddings
        least, most = (float(norm) for norm in norms.aminmax())
        if SAFE_NORMS[0] <= least and most <= SAFE_NORMS[1]:
            return embeddings
    limits = torch.finfo(embeddings.dtype)
    largest = embeddings.detach().abs().amax(dim=1, keepdim=True)
    largest = largest.clamp(min=limits.tiny, max=limits.max / 16)
    # The mantissa over the number itself is a power of two, about 1 / largest.
    return embeddings * (torch.frexp(largest).mantissa / largest)
