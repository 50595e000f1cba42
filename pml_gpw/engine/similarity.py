"""What a similarity is to the engine.

Shapes: N anchors, M references, D dims.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


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
    """Embeddings (N, D) of Euclidean norm 1; rows of zeros stay zeros.

    Squared norms neither overflow nor underflow. Values are those of
    ``torch.nn.functional.normalize`` to the last bit where that is right.
    """
    norms = embeddings.norm(2, dim=1, keepdim=True)
    if not _are_safe(norms):
        embeddings = _scaled(embeddings)
        norms = embeddings.norm(2, dim=1, keepdim=True)
    return embeddings / norms.clamp_min(1e-12).expand_as(embeddings)


def within_range(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) whose norms neither overflow nor underflow, in the same directions."""
    return embeddings if _are_safe(embeddings.norm(2, dim=1)) else _scaled(embeddings)


def _are_safe(norms: Tensor) -> bool:
    """Whether no row needs scaling; looked at on a CPU only, since elsewhere a look would wait."""
    if norms.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if norms.numel() == 0:
        return True
    least, most = norms.detach().aminmax()
    return SAFE_NORMS[0] <= float(least) and float(most) <= SAFE_NORMS[1]


def _scaled(embeddings: Tensor) -> Tensor:
    """Rows scaled to entries of about 1, by powers of two, which is exact."""
    if embeddings.shape[1] == 0:
        return embeddings
    limits = torch.finfo(embeddings.dtype)
    largest = embeddings.detach().abs().amax(dim=1, keepdim=True)
    largest = largest.clamp(min=limits.tiny, max=limits.max / 16)
    # The mantissa over the number itself is a power of two, about 1 / largest.
    return embeddings * (torch.frexp(largest).mantissa / largest)
