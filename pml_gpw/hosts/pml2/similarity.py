"""The similarity of a PML distance: defined here, once. A distance D is read as S = −D.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Mapping
from typing import Any

from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity
from torch import Tensor
from typing_extensions import override

from ... import checks
from ...engine.similarity import SIMILARITIES, Similarity
from ...engine.unit_rows import unit_rows, within_range


class DistanceSimilarity(Similarity):
    """A PML distance module as the engine's similarity; larger is closer.

    >>> import torch
    >>> from pytorch_metric_learning.distances import LpDistance
    >>> x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    >>> DistanceSimilarity(LpDistance(normalize_embeddings=False)).matrix(x, x[:1])
    tensor([[-0.],
            [-5.]])
    """

    def __init__(self, distance: Any) -> None:
        self.distance = distance
        self.is_negated_distance = not distance.is_inverted
        # By exact type: a subclass may compute anything.
        known = type(distance) in (CosineSimilarity, DotProductSimilarity)
        self.is_inner_product = known and distance.power == 1
        self.normalized = bool(distance.normalize_embeddings and distance.p == 2)

    @override
    def factors(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`Similarity.factors`; the distance's statistics are as after a call of it."""
        distance = self.distance
        distance.reset_stats()
        x, y = anchors, references
        is_unit = self.normalized
        if distance.normalize_embeddings and (not is_unit or distance.collect_stats):
            x = self._normalized(anchors)
            y = x if references is anchors else self._normalized(references)
        distance.set_default_stats(anchors, references, x, y)
        return (anchors, references) if is_unit else (x, y)

    @override
    def matrix(self, anchors: Tensor, references: Tensor) -> Tensor:
        matrix = self.distance(*self._within_range(anchors, references))
        return -matrix if self.is_negated_distance else matrix

    def _normalized(self, embeddings: Tensor) -> Tensor:
        if self.distance.p == 2:
            return unit_rows(embeddings)
        return self.distance.maybe_normalize(within_range(embeddings))

    def _within_range(self, anchors: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings that the distance can normalise; one object where the arguments are one."""
        if not self.distance.normalize_embeddings:
            return anchors, references
        x = within_range(anchors)
        return x, x if references is anchors else within_range(references)


def with_distance(similarity: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a PML module, with the distance that a similarity by its name is.

    Errors: ValueError for an unknown name, and for a similarity beside a distance.

    >>> with_distance("dot", {})["distance"].normalize_embeddings
    False
    """
    checks.one_of("similarity", similarity, SIMILARITIES)
    if similarity == "cosine":
        return dict(options)
    refuse_both("similarity", similarity, "distance", options)
    return {**options, "distance": DotProductSimilarity(normalize_embeddings=False)}


def refuse_both(name: str, value: str, other: str, options: Mapping[str, Any]) -> None:
    """Raise a ValueError where an option says otherwise what a name has said."""
    if options.get(other) is not None:
        raise ValueError(f"{other} must be None beside {name}={value!r}, got {options[other]!r}")
