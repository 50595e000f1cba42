"""The weights of all pairs of a batch, as matrices, and in a few figures.

Shapes: N anchors, M references, K pairs.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .optional import import_optional

if TYPE_CHECKING:
    import pandas as pd


HARDEST = (0.01, 0.1)


@dataclass(frozen=True)
class PairWeightTable:
    """The weights of all pairs of a batch, as (N, M) matrices.

    Weights are `w_ij = |∂L/∂S_ij|` (eq 2); ``gradient`` is `∂L/∂S_ij` with its sign, which is ≥ 0
    for negatives and ≤ 0 for positives of a sound loss.

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
    labels: Tensor | None  # (N,), where they are known
    ref_labels: Tensor | None  # (M,)
    loss: float

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value:.3g}" for name, value in self.summary().items())
        return f"{type(self).__name__}(loss={self.loss:.4g}, {figures})"

    @property
    def weights(self) -> Tensor:
        """`|∂L/∂S_ij|` of the positives and negatives; 0 elsewhere."""
        return torch.where(self.positives | self.negatives, self.gradient.abs(), 0.0)

    def to_frame(self) -> "pd.DataFrame":
        """One row per pair: anchor, other, relation, similarity, weight, mined.

        Errors: ImportError without pandas.
        """
        pd = import_optional("pandas", "notebooks")
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
        """The weights in a few figures; see :func:`summarize`."""
        return summarize(self.similarity, self.weights, self.positives, self.negatives)


def summarize(
    similarity: Tensor, weights: Tensor, positives: Tensor, negatives: Tensor
) -> dict[str, float]:
    """The weight of a batch in a few figures; all arguments (N, M).

    - ``effective_pairs``: exp of the entropy of the weights' distribution over pairs; as many
      pairs of equal weight would be as concentrated.
    - ``effective_share``: the same as a share of all pairs.
    - ``hardest_1``, ``hardest_10``: share of the weight that lies on the hardest 1 % and 10 % of
      the positives (lowest S) and of the negatives (highest S).
    - ``zero_share``: share of the pairs without weight.
    - ``positive_share``: share of the weight on positives; 0.5 is balanced.
    - ``total``: sum of the weights.

    NaN where there is no weight to share out.

    >>> import torch
    >>> weights = torch.tensor([[0.0, 1.0, 1.0]])
    >>> positives = torch.tensor([[False, True, False]])
    >>> figures = summarize(torch.rand(1, 3), weights, positives, ~positives)
    >>> round(figures["effective_pairs"], 6), figures["positive_share"]
    (2.0, 0.5)
    """
    pairs = positives | negatives
    w = weights[pairs].double()
    total, count = float(w.sum()), len(w)
    share = w / total if total > 0 else w * math.nan
    effective = math.exp(float(torch.special.entr(share).sum())) if total > 0 else math.nan
    figures = {"effective_pairs": effective, "effective_share": effective / max(count, 1)}
    for part in HARDEST:
        on_hardest = sum(
            float(_of_hardest(hardness[mask], weights[mask], part))
            for hardness, mask in ((-similarity, positives), (similarity, negatives))
        )
        figures[f"hardest_{round(100 * part)}"] = on_hardest / total if total > 0 else math.nan
    figures["zero_share"] = float((w == 0).double().mean()) if count else math.nan
    on_positives = float(weights[positives].double().sum())
    figures["positive_share"] = on_positives / total if total > 0 else math.nan
    return {**figures, "total": total}


def _of_hardest(hardness: Tensor, weights: Tensor, part: float) -> Tensor:
    """The weight of the hardest ``part`` of K pairs, at least of one."""
    if len(weights) == 0:
        return weights.sum()
    hardest = hardness.topk(math.ceil(part * len(weights))).indices
    return weights[hardest].double().sum()
