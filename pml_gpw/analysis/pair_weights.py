"""Which pairs drive a loss: the weight of each pair of a batch.

Shapes: N anchors, M references, D dims.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..inputs import checked_inputs, full_precision
from ..pairs import label_masks, own_columns, reference_labels, tuple_masks
from .recorded import (
    check_loss,
    copy_of,
    same_random_numbers,
    similarities_and_distances,
    similarity_gradient,
)
from .summary import summarize

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PairWeightTable:
    """The weights of all pairs of a batch, as (N, M) matrices.

    Weights are w_ij = |∂L/∂S_ij| (eq 2); ``gradient`` is ∂L/∂S_ij with its sign, which is ≥ 0 for
    negatives and ≤ 0 for positives of a sound loss.
    """

    similarity: Tensor
    gradient: Tensor
    positives: Tensor  # bool; an anchor and itself are neither
    negatives: Tensor  # bool
    mined: Tensor  # bool; without a miner all positives and negatives
    labels: Tensor  # (N,)
    ref_labels: Tensor  # (M,)
    loss: float

    @property
    def weights(self) -> Tensor:
        """|∂L/∂S_ij| of the positives and negatives; 0 elsewhere."""
        return torch.where(self.positives | self.negatives, self.gradient.abs(), 0.0)

    def to_frame(self) -> "pd.DataFrame":
        """One row per pair: anchor, other, relation, similarity, weight, mined. Needs pandas."""
        import pandas as pd

        anchor, other = (self.positives | self.negatives).nonzero(as_tuple=True)
        negative = self.negatives[anchor, other].tolist()
        relation = ["negative" if is_negative else "positive" for is_negative in negative]
        columns = {
            "anchor": anchor,
            "other": other,
            "relation": pd.Categorical(relation),
            "similarity": self.similarity[anchor, other],
            "weight": self.weights[anchor, other],
            "mined": self.mined[anchor, other],
        }
        return pd.DataFrame(
            {k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in columns.items()}
        )

    def summary(self) -> dict[str, float]:
        """What the weights say in a few figures; see :func:`summarize`."""
        return summarize(self.similarity, self.weights, self.positives, self.negatives)


def pair_weights(
    loss: Any,
    embeddings: Tensor,
    labels: Tensor,
    miner: Any = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    indices_tuple: Any = None,
    own: Tensor | None = None,
) -> PairWeightTable:
    """The weight w_ij = |∂L/∂S_ij| (eq 2) that a PML loss gives each pair.

    For the losses of this package these are the closed forms, for others autograd's gradient with
    respect to the similarity matrix. A Euclidean distance of normalised embeddings is read as
    D = √(2 − 2S) and the chain rule goes on to S; any other distance is read as S = −D, and a
    similarity (``is_inverted``) as it is. The reducer counts: a mean over N anchors makes each
    weight 1/N of that of its anchor alone. Embedding regularisers do not, since they are not about
    pairs. Loss and miner are left as they were, and so is the state of torch's random numbers.

    Args:
        loss: a pair-, triplet- or tuple-based loss.
        embeddings: (N, D).
        labels: (N,) integers.
        miner: mines before the loss, as in training; None: the loss gets all pairs.
        ref_emb: references (M, D); None: the embeddings themselves.
        ref_labels: their labels (M,).
        indices_tuple: pairs or triplets that were mined already, in place of ``miner``.
        own: (N,) the place of each anchor's own copy among the references, −1 for none; for the
            losses of this package.

    Errors: ValueError for a loss that does not act through the similarities of pairs alone, such
    as one with proxies, and for bad input.

    Reference: Wang et al., CVPR 2019, section 3.
    """
    check_loss(loss)
    if miner is not None and indices_tuple is not None:
        raise ValueError("indices_tuple must be None where a miner is given")
    if labels is None:
        raise ValueError("labels must be given, got None")
    inputs = checked_inputs(embeddings, labels, ref_emb, ref_labels)
    x, labels = inputs.embeddings.detach(), labels.to(embeddings.device).long()
    y = None if inputs.ref_emb is None else inputs.ref_emb.detach()
    others = x if y is None else y
    other_labels = reference_labels(labels, others, inputs.ref_labels)
    columns = own_columns(x, labels, others, other_labels, own)
    positives, negatives = label_masks(labels, other_labels, columns)
    with torch.no_grad(), full_precision(x):
        if miner is not None:
            with same_random_numbers(x):
                indices_tuple = copy_of(miner)(x, labels, y, inputs.ref_labels)
        sim, matrix = similarities_and_distances(loss.distance, x, others)
        value, gradient = similarity_gradient(
            loss, matrix, x, labels, indices_tuple, y, inputs.ref_labels, own
        )
    mined = positives | negatives
    if indices_tuple is not None:
        pos, neg = tuple_masks(indices_tuple, (len(x), len(others)), x.device)
        mined = pos | neg
    return PairWeightTable(
        sim, gradient, positives, negatives, mined, labels, other_labels, float(value)
    )
