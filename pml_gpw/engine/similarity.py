"""What a similarity is to the engine.

Shapes: N anchors, M references, D dims.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from .unit_rows import unit_rows


class Factors(NamedTuple):
    """Two matrices whose inner products are similarities."""

    anchors: Tensor  # (N, D)
    references: Tensor  # (M, D)
    normalized: bool
    """Whether their rows are to be scaled to Euclidean norm 1 first."""


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

    def factors(self, anchors: Tensor, references: Tensor) -> Factors:
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

    def factors(self, anchors: Tensor, references: Tensor) -> Factors:
        """The embeddings, to be normalised where the similarity is the cosine."""
        return Factors(anchors, references, self.normalized)

    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        """The similarities (N, M)."""
        if not self.normalized:
            return anchors @ references.T
        x = unit_rows(anchors)
        return x @ (x if references is anchors else unit_rows(references)).T
