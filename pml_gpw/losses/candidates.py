"""The candidate pairs of a PML loss: those of its index tuple, or all that the labels give."""

from collections.abc import Sequence

from torch import Tensor

from ..pairs import label_masks, reference_labels, same_embeddings, tuple_masks


def candidate_masks(
    embeddings: Tensor,
    labels: Tensor | None,
    indices_tuple: Sequence[Tensor] | None,
    ref_emb: Tensor,
    ref_labels: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Masks (N, M) of positives and negatives from the arguments of PML's ``compute_loss``.

    Errors: ValueError without labels and tuple, and for what ``tuple_masks`` refuses.
    """
    if indices_tuple is not None:
        shape = (len(embeddings), len(ref_emb))
        return tuple_masks(indices_tuple, shape, embeddings.device)
    if labels is None:
        raise ValueError("labels or indices_tuple must be given, got neither")
    ref_labels = reference_labels(labels, ref_emb, ref_labels)
    return label_masks(labels, ref_labels, same_embeddings(embeddings, ref_emb))
