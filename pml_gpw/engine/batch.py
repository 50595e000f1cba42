"""A batch of pairs, which losses, miners, memories and process groups hand to each other.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from .index_pairs import IndexPairs
from .pairs import Pairs


class AnchorLosses(NamedTuple):
    """The loss of each anchor, and how many positive and negative pairs of it were weighed.

    >>> import torch
    >>> AnchorLosses(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([2.0])).num_neg
    tensor([2.])
    """

    losses: Tensor  # (N,)
    num_pos: Tensor  # (N,)
    num_neg: Tensor  # (N,)


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Anchors, references and the pairs between them, resolved and checked.

    It is made once a call, before anything is computed, and never changes.

    Args:
        anchors: (N, D) embeddings in at least float32.
        references: (M, D); the same object as ``anchors`` in self-comparison.
        pairs: which pairs are positives and which are negatives.
        labels: (N,) int64, where they are known.
        reference_labels: (M,) int64, where they are known.
        key: () int64, the random key of the call, where a rule draws random numbers.
        first_anchor: the number of the first anchor, where this is a part of a batch.

    >>> import torch
    >>> from pml_gpw.engine import LabelPairs
    >>> x, labels = torch.rand(4, 2), torch.tensor([0, 0, 1, 1])
    >>> batch = PairBatch(x, x, LabelPairs(labels, labels, torch.arange(4)), labels, labels)
    >>> batch.part(slice(2, 4)).anchors.shape
    torch.Size([2, 2])
    >>> batch.pairs.index_tuple()[1]  # the positives of anchors 0 to 3
    tensor([1, 0, 3, 2])
    """

    anchors: Tensor
    references: Tensor
    pairs: Pairs
    labels: Tensor | None = None
    reference_labels: Tensor | None = None
    key: Tensor | None = None
    first_anchor: int = 0

    def part(self, anchors: slice) -> "PairBatch":
        """Some of the anchors, against all references."""
        start, stop, _ = anchors.indices(len(self.anchors))
        anchors = slice(start, max(start, stop))
        return replace(
            self,
            anchors=self.anchors[anchors],
            pairs=self.pairs.part(anchors),
            labels=None if self.labels is None else self.labels[anchors],
            first_anchor=self.first_anchor + anchors.start,
        )

    def with_indices(self, indices_tuple: Sequence[Tensor]) -> "PairBatch":
        """The same embeddings with the pairs of an index tuple. Errors: as ``IndexPairs.of``."""
        old = self.pairs
        pairs = IndexPairs.of(indices_tuple, old.shape, self.anchors.device, old.self_index)
        return replace(self, pairs=pairs)

    def with_embeddings(self, anchors: Tensor, references: Tensor) -> "PairBatch":
        """The same pairs of other embeddings, (N, D) and (M, D)."""
        return replace(self, anchors=anchors, references=references)

    def detached(self) -> "PairBatch":
        """The same batch without the graph of its embeddings."""
        anchors = self.anchors.detach()
        others = anchors if self.references is self.anchors else self.references.detach()
        return self.with_embeddings(anchors, others)
