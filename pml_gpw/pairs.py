"""Which pairs are candidates: boolean masks from labels or from index tuples.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def same_embeddings(embeddings: Tensor, references: Tensor) -> bool:
    """Whether the references are the anchors themselves: the same object or equal values.

    Equal values count because a clone (or ``detach()``) has the same pairs of an embedding with
    itself as the original. Where row i of two equal views is meant as a positive, say so with an
    index tuple.
    """
    if references is embeddings:
        return True
    if references.shape != embeddings.shape or torch.compiler.is_compiling():
        return False
    return torch.equal(references, embeddings)


def reference_labels(labels: Tensor, references: Tensor, ref_labels: Tensor | None) -> Tensor:
    """The labels (M,) of the references; those of the anchors, in order, where none are given.

    Errors: ValueError where none are given and there are not as many references as anchors.
    """
    if ref_labels is not None:
        return ref_labels
    if len(references) != len(labels):
        raise ValueError(
            f"ref_labels must be given for {len(references)} references and "
            f"{len(labels)} labels, got None"
        )
    return labels


def own_columns(
    embeddings: Tensor, labels: Tensor, references: Tensor, ref_labels: Tensor, own: Tensor | None
) -> Tensor | None:
    """The column (N,) of each anchor's own copy among the references, −1 where there is none.

    ``own`` where the caller knows them; else all columns in order where the references are the
    anchors themselves, and None where they are others.
    Errors: ValueError for ``own`` that is no (N,) tensor of integers in [−1, M), or that names a
    reference of another label than its anchor's.
    """
    if own is None:
        if not same_embeddings(embeddings, references):
            return None
        return torch.arange(len(embeddings), device=embeddings.device)
    integral = isinstance(own, Tensor) and own.dtype in _INTEGERS
    if not integral or own.shape != labels.shape:
        what = f"{own.dtype} {tuple(own.shape)}" if isinstance(own, Tensor) else type(own).__name__
        raise ValueError(f"own must be ({len(labels)},) integers, one per embedding, got {what}")
    own = own.to(labels.device).long()
    if not torch.compiler.is_compiling():
        if ((own < -1) | (own >= len(references))).any():
            raise ValueError(
                f"own must lie in [-1, {len(references)}), got {int(own.min())} to {int(own.max())}"
            )
        copied = own >= 0
        if (ref_labels[own[copied]] != labels[copied]).any():
            raise ValueError("own must name a copy of each anchor, got references of other labels")
    return own


def label_masks(
    labels: Tensor, ref_labels: Tensor, own: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of positives (equal labels) and negatives; ``labels`` (N,), ``ref_labels`` (M,).

    ``own``: the column of each anchor's own copy, −1 for none; their pair is no positive.
    """
    neg = labels.unsqueeze(1) != ref_labels.unsqueeze(0)
    pos = ~neg
    if own is not None:
        pos &= torch.arange(len(ref_labels), device=pos.device) != own.unsqueeze(1)
    return pos, neg


IndexPairs = tuple[Tensor, Tensor]
"""Anchors (K,) and the references (K,) they are paired with."""

BOTH_KINDS = "indices_tuple must not name a pair as both positive and negative"


def tuple_pairs(
    indices_tuple: Sequence[Tensor], shape: tuple[int, int], device: torch.device
) -> tuple[IndexPairs, IndexPairs]:
    """Positive and negative pairs of a (a1, p, a2, n) or (a, p, n) tuple of index tensors.

    ``shape``: (N, M). Errors: ValueError for another number of tensors, lengths that differ and
    indices out of range.
    """
    if len(indices_tuple) not in (3, 4):
        raise ValueError(
            "indices_tuple must be (a1, p, a2, n) pairs or (a, p, n) triplets, "
            f"got {len(indices_tuple)} tensors"
        )
    pos_anchor, positive = indices_tuple[:2]
    neg_anchor, negative = indices_tuple[-2:] if len(indices_tuple) == 4 else indices_tuple[::2]
    return (
        _checked("positive", pos_anchor, positive, shape, device),
        _checked("negative", neg_anchor, negative, shape, device),
    )


def tuple_masks(
    indices_tuple: Sequence[Tensor], shape: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of the pairs of an index tuple.

    Errors: ValueError as ``tuple_pairs``, and for a pair that is both positive and negative.
    """
    pos, neg = (
        torch.zeros(shape, dtype=torch.bool, device=device).index_put(
            pairs, torch.tensor(True, device=device)
        )
        for pairs in tuple_pairs(indices_tuple, shape, device)
    )
    if not torch.compiler.is_compiling() and (pos & neg).any():
        raise ValueError(BOTH_KINDS)
    return pos, neg


def _checked(
    kind: str, anchor: Tensor, other: Tensor, shape: tuple[int, int], device: torch.device
) -> IndexPairs:
    for index in (anchor, other):
        if not isinstance(index, Tensor) or index.is_floating_point() or index.is_complex():
            what = index.dtype if isinstance(index, Tensor) else type(index).__name__
            raise ValueError(f"indices_tuple must hold tensors of integers, got {what}")
    anchor, other = anchor.to(device).long(), other.to(device).long()
    if anchor.shape != other.shape:
        raise ValueError(
            f"indices_tuple must pair each anchor with one {kind}, "
            f"got {anchor.numel()} anchors and {other.numel()} {kind}s"
        )
    if not torch.compiler.is_compiling():
        for name, index, limit in (("anchor", anchor, shape[0]), (kind, other, shape[1])):
            if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < limit:
                raise ValueError(
                    f"indices_tuple must hold {name} indices in [0, {limit}), "
                    f"got {int(index.min())} to {int(index.max())}"
                )
    return anchor, other
