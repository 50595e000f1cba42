"""Similarities as the engine sees them.

Shapes: N anchors, M references, D dims.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .unit_rows import unit_rows


class Similarity(Protocol):
    """How similar anchors and references are; larger is closer.

    >>> similarity: Similarity = InnerProduct()
    >>> similarity.is_negated_distance
    False
    """

    @property
    def is_negated_distance(self) -> bool:
        """True for S = −D, where levels on the similarity axis change their sign."""

    @property
    def is_inner_product(self) -> bool:
        """True where the similarities are the inner products of ``factors``."""

    @property
    def normalized(self) -> bool:
        """True where the factors are to be scaled to Euclidean norm 1 first."""

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
        """The embeddings themselves."""
        return anchors, references

    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        """The similarities (N, M)."""
        if not self.normalized:
            return anchors @ references.T
        x = unit_rows(anchors)
        return x @ (x if references is anchors else unit_rows(references)).T
