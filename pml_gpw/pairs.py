"""Which pairs are candidates: boolean masks from labels or from index tuples.

Shapes: N anchors, M references, D dims.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


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


def label_masks(labels: Tensor, ref_labels: Tensor, leave_self_out: bool) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of positives (equal labels) and negatives; ``labels`` (N,), ``ref_labels`` (M,).

    ``leave_self_out``: reference i is anchor i, and its pair with itself is no positive.
    """
    neg = labels.unsqueeze(1) != ref_labels.unsqueeze(0)
    pos = ~neg
    if leave_self_out:
        pos.fill_diagonal_(False)
    return pos, neg


def tuple_masks(
    indices_tuple: Sequence[Tensor], shape: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of the pairs of a (a1, p, a2, n) or (a, p, n) tuple of index tensors.

    Errors: ValueError for another number of tensors, lengths that differ, indices out of range
    and a pair that is both positive and negative.
    """
    if len(indices_tuple) not in (3, 4):
        raise ValueError(
            "indices_tuple must be (a1, p, a2, n) pairs or (a, p, n) triplets, "
            f"got {len(indices_tuple)} tensors"
        )
    pos_anchor, positive = indices_tuple[:2]
    neg_anchor, negative = indices_tuple[-2:] if len(indices_tuple) == 4 else indices_tuple[::2]
    pos = _scatter("positive", pos_anchor, positive, shape, device)
    neg = _scatter("negative", neg_anchor, negative, shape, device)
    if not torch.compiler.is_compiling() and (pos & neg).any():
        raise ValueError("indices_tuple must not name a pair as both positive and negative")
    return pos, neg


def _scatter(
    kind: str, anchor: Tensor, other: Tensor, shape: tuple[int, int], device: torch.device
) -> Tensor:
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
    mask = torch.zeros(shape, dtype=torch.bool, device=device)
    mask[anchor, other] = True
    return mask
