"""Any PML distance read as a similarity: a distance D is S = −D."""

from typing import Any

from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from torch import Tensor

from .weightings import PairWeighting


def similarity_matrix(distance: Any, embeddings: Tensor, references: Tensor) -> Tensor:
    """Similarities (N, M) of a PML distance module; larger is closer."""
    matrix = distance(embeddings, references)
    return matrix if distance.is_inverted else -matrix


def is_inner_product(distance: Any) -> bool:
    """Whether the similarities are inner products of (perhaps normalised) embeddings.

    By exact type: a subclass may compute anything.
    """
    return type(distance) in (CosineSimilarity, DotProductSimilarity) and distance.power == 1


def normalized(distance: Any, embeddings: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Anchors (N, D) and references (M, D) whose inner products are the distance's similarities.

    One object where the arguments are one; the distance's statistics are as after a call of it.
    """
    x = distance.maybe_normalize(embeddings)
    y = x if references is embeddings else distance.maybe_normalize(references)
    distance.reset_stats()
    distance.set_default_stats(embeddings, references, x, y)
    return x, y


def on_scale_of(distance: Any, weighting: PairWeighting) -> PairWeighting:
    """The weighting for the similarities of a PML distance module."""
    return weighting if distance.is_inverted else weighting.for_negated_distances()
