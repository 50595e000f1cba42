"""The weights of all pairs of a batch, as matrices.

Shapes: N anchors, M references.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .summary import summarize

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PairWeightTable:
    """The weights of all pairs of a batch, as (N, M) matrices.

    Weights are w_ij = |∂L/∂S_ij| (eq 2); ``gradient`` is ∂L/∂S_ij with its sign, which is ≥ 0 for
    negatives and ≤ 0 for positives of a sound loss.

    >>> import torch
    >>> from pml_gpw import MSLoss
    >>> from pml_gpw.analysis import pair_weights
    >>> table = pair_weights(MSLoss(), torch.eye(4), torch.tensor([0, 0, 1, 1]))
    >>> table.weights.shape, round(table.summary()["zero_share"], 2)
    (torch.Size([4, 4]), 0.0)
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
