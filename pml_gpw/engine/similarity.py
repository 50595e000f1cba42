"""Similarities as the engine sees them.

Shapes: N anchors, M references, D dims.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from .unit_rows import unit_rows


class Similarity(ABC):
    """A measure of how similar anchors and references are; larger is closer.

    >>> similarity: Similarity = InnerProduct()
    >>> similarity.is_negated_distance
    False
    """

    is_negated_distance = False
    """True for S = −D, where levels on the similarity axis change their sign."""

    is_inner_product = True
    """True where the similarities are the inner products of ``factors``."""

    normalized = True
    """True where the factors are to be scaled to Euclidean norm 1 first."""

    @property
    def may_be_cosine(self) -> bool:
        """False for distances, and for inner products of embeddings as they are."""
        return not self.is_negated_distance and (self.normalized or not self.is_inner_product)

    def factors(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Two matrices (N, D) and (M, D) whose inner products are the similarities.

        One object where the arguments are one.
        """
        return anchors, references

    @abstractmethod
    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        """The similarities (N, M)."""


@dataclass(frozen=True)
class InnerProduct(Similarity):
    """The cosine similarity, or the inner product of embeddings as they are.

    >>> import torch
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> InnerProduct(normalized=True).matrix(x, x)
    tensor([[1.]])
    """

    normalized: bool = True

    @override
    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        if not self.normalized:
            return anchors @ references.T
        x = unit_rows(anchors)
        return x @ (x if references is anchors else unit_rows(references)).T


class GivenSimilarities(Similarity):
    """Similarities (N, M) that are there already, whatever the embeddings are.

    >>> import torch
    >>> GivenSimilarities(torch.eye(2)).matrix(torch.zeros(2, 1), torch.zeros(2, 1))[0]
    tensor([1., 0.])
    """

    is_inner_product = False

    def __init__(self, sim: Tensor, is_negated_distance: bool = False) -> None:
        self.sim, self.is_negated_distance = sim, is_negated_distance

    @override
    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        return self.sim


SIMILARITIES = {"cosine": InnerProduct(normalized=True), "dot": InnerProduct(normalized=False)}
"""By the names that functions and modules take."""
