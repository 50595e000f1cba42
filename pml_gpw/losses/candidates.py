"""The candidate pairs of a PML loss: those of its index tuple, or all that the labels give."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine import Candidates, Labelled, Listed
from ..pairs import label_masks, own_columns, reference_labels, tuple_masks, tuple_pairs


@dataclass(frozen=True)
class Given:
    """What a PML loss is given in ``compute_loss``, and the columns of the anchors' own copies.

    Errors of its methods: ValueError without labels and tuple, and for what ``pairs`` refuses.
    """

    embeddings: Tensor
    labels: Tensor | None
    indices_tuple: Sequence[Tensor] | None
    ref_emb: Tensor
    ref_labels: Tensor | None
    own: Tensor | None

    def masks(self) -> tuple[Tensor, Tensor]:
        """Positives and negatives, (N, M) each."""
        if self.indices_tuple is not None:
            return tuple_masks(self.indices_tuple, self._shape, self.embeddings.device)
        return label_masks(*self._labels())

    def candidates(self) -> Candidates:
        """The same pairs, for an engine that walks them."""
        if self.indices_tuple is not None:
            pairs = tuple_pairs(self.indices_tuple, self._shape, self.embeddings.device)
            return Listed(*pairs, self._shape)
        return Labelled(*self._labels())

    def part(self, anchors: slice) -> "Given":
        """The same for some of the anchors only; all references stay."""
        embeddings = self.embeddings[anchors]
        if self.indices_tuple is not None:
            pairs = tuple_pairs(self.indices_tuple, self._shape, embeddings.device)
            parts = tuple(index for pair in pairs for index in _pairs_of(anchors, *pair))
            return Given(embeddings, None, parts, self.ref_emb, None, None)
        labels, ref_labels, own = self._labels()
        if own is None:  # a part must not look like the references where the whole did not
            own = torch.full_like(labels, -1)
        return Given(embeddings, labels[anchors], None, self.ref_emb, ref_labels, own[anchors])

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.embeddings), len(self.ref_emb)

    def _labels(self) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.labels is None:
            raise ValueError("labels or indices_tuple must be given, got neither")
        ref_labels = reference_labels(self.labels, self.ref_emb, self.ref_labels)
        own = own_columns(self.embeddings, self.labels, self.ref_emb, ref_labels, self.own)
        return self.labels, ref_labels, own


def _pairs_of(anchors: slice, anchor: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the pairs (K,) whose anchor is one of ``anchors``, numbered from the first."""
    there = (anchor >= anchors.start) & (anchor < anchors.stop)
    return anchor[there] - anchors.start, other[there]
