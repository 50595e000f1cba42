"""The arguments of a PML loss or miner as a batch of pairs, and back.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..engine import PairBatch
from ..engine.arguments import ArgumentNames, checked_embeddings, drawn_key, resolved_batch

NAMES = ArgumentNames("ref_emb", "ref_labels")


def pair_batch(
    embeddings: Tensor | PairBatch,
    labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | PairBatch | None = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    self_index: Tensor | None = None,
    rules: Sequence[object] = (),
) -> PairBatch:
    """The batch of a call: the one that stands in place of all arguments, or theirs, checked.

    ``rules``: the minings of the call; where one of them is random, a key is drawn.
    Errors: ValueError that names the argument at fault.

    >>> import torch
    >>> pair_batch(torch.rand(4, 2), torch.tensor([0, 0, 1, 1])).pairs.shape
    (4, 4)
    """
    if isinstance(embeddings, PairBatch):
        return embeddings
    if isinstance(indices_tuple, PairBatch):  # from our forward, through somebody's own method
        return indices_tuple.with_embeddings(embeddings, embeddings if ref_emb is None else ref_emb)
    given = checked_embeddings(embeddings, labels, ref_emb, ref_labels, NAMES)
    key = drawn_key(given.anchors.device, *rules)
    return resolved_batch(given, indices_tuple, self_index, NAMES, key)


def pml_arguments(batch: PairBatch, indices_tuple: Any) -> tuple[Any, ...]:
    """What PML's losses take, (embeddings, labels, indices_tuple, ref_emb, ref_labels).

    >>> import torch
    >>> batch = pair_batch(torch.rand(4, 2), torch.tensor([0, 0, 1, 1]))
    >>> len(pml_arguments(batch, None))
    5
    """
    return batch.anchors, batch.labels, indices_tuple, batch.references, batch.reference_labels
