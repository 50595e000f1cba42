"""The losses and weights of each chunk of anchors: eagerly in either layout, or fused.

Shapes: N anchors, M references, C rows of a chunk.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from ..weightings import PairWeighting, PairWeights, Rows
from ..weightings.base import refuse_negative_weight, weigh
from .chunks import StreamedBatch, iter_chunks, iter_products
from .fused import fused_rows
from .gradients import GradientProducts, refuse_bad_weights


@dataclass(frozen=True)
class WeighedChunk(ABC):
    """What a weighting made of a chunk of anchors."""

    weighting: PairWeighting
    anchors: slice
    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)

    @abstractmethod
    def add_to(self, products: GradientProducts, scale: Tensor | None) -> None:
        """Add the weights, times ``scale`` (C,) where given, to the gradients.

        Errors: ValueError that names the weighting for weights that are negative or NaN.
        """

    @abstractmethod
    def refuse_bad_weights(self) -> None:
        """Raise a ValueError that names the weighting for weights that are negative or NaN."""


@dataclass(frozen=True)
class EagerChunk(WeighedChunk):
    """Weights in the layouts of their rows."""

    pos: Rows
    neg: Rows
    weights: PairWeights

    @override
    def add_to(self, products: GradientProducts, scale: Tensor | None) -> None:
        rows = self.pos, self.neg, self.weights
        products.add_rows(self.weighting, self.anchors, *rows, scale)

    @override
    def refuse_bad_weights(self) -> None:
        refuse_bad_weights(self.weighting, self.pos, self.neg, self.weights)


@dataclass(frozen=True)
class FusedChunk(WeighedChunk):
    """Weights as a matrix."""

    signed: Tensor  # (C, M): + for negatives and − for positives (eq 1-3)
    least: Tensor  # (), the least weight
    whole: Tensor | None  # (N, N), the signed weights of all anchors up to here, where held

    @override
    def add_to(self, products: GradientProducts, scale: Tensor | None) -> None:
        self.refuse_bad_weights()
        if self.whole is None:
            products.add(self.anchors, self.signed, scale)
            return
        if scale is not None:
            self.signed.mul_(scale.unsqueeze(1))
        products.hold(self.whole)

    @override
    def refuse_bad_weights(self) -> None:
        refuse_negative_weight(self.weighting, self.least)


def weighed_chunks(
    streamed: StreamedBatch, weighting: PairWeighting, forms_gradients: bool
) -> Iterator[WeighedChunk]:
    """Each chunk of anchors, weighed; valid until the next one.

    ``forms_gradients``: whether every chunk is added to gradients.
    """
    rules = weighting, streamed.mining
    fused = fused_rows(*rules, streamed.pairs, streamed.plan.fused, streamed.x.device)
    if fused is None:
        for anchors, pos, neg in iter_chunks(streamed, weighting.needs_dense):
            losses, weights = weigh(weighting, pos, neg)
            found = losses, pos.count(), neg.count()
            yield EagerChunk(weighting, anchors, *found, pos, neg, weights)
        return
    streamed = streamed.with_unit_rows()
    n = len(streamed.x)
    holds_all = forms_gradients and streamed.may_hold_all_weights
    whole = streamed.x.new_empty(n, n) if holds_all else None
    for anchors, sim in iter_products(streamed, whole):
        yield FusedChunk(weighting, anchors, *fused(sim, anchors, streamed.origin), whole)
