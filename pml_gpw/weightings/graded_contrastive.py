"""Generalised contrastive loss of graded pairs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .euclidean import distance, per_distance
from .pair_rows import Rows


@dataclass(frozen=True)
class GradedContrastive(PairWeighting):
    """Generalised contrastive loss: pairs are similar by degrees.

    With ψ the relevance of the pair in [0, 1], the Euclidean distance `D = √(2 − 2 S)` of rows of
    norm 1, and τ = ``margin``:

    `L_i = Σ_{P_i ∪ N_i} { ½ ψ_ij D_ij² + ½ (1 − ψ_ij) [τ − D_ij]_+² }`

    A pair is pulled with the weight `ψ − (1 − ψ) [τ − D]_+ / D`, and pushed where that is below 0.
    Uses S.

    Where pairs are not graded, positives have ψ = 1 and negatives 0: the contrastive loss of
    distances. The relevance comes from ``pairs=``, such as the overlap of fields of view.
    Errors: ValueError for a margin that is not a finite number, and another similarity than the
    cosine.

    Source: Leyva-Vallina et al., Data-efficient Large Scale Place Recognition with Graded
    Similarity Supervision, CVPR 2023, eq 3.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> sim = torch.tensor([[0.5, 0.92, 0.0]])
    >>> GradedContrastive(margin=0.5).losses(sim, positives, negatives)
    tensor([0.5050])
    """

    margin: float = 0.5
    uses: ClassVar[frozenset[str]] = frozenset("S")
    of_unit_rows: ClassVar[bool] = True
    any_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.finite("margin", self.margin)
        checks.floats(self, "margin")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        (of_pos, pos_slopes), (of_neg, neg_slopes) = self._of_side(pos), self._of_side(neg)
        return of_pos + of_neg, PairWeights(-pos_slopes, neg_slopes)

    def _of_side(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """The losses (C,) of the pairs of one kind, and their derivatives as pair values."""
        relevance = rows.relevance
        short = (rows.expand(self.margin) - distance(rows.sim)).clamp(min=0)
        near, far = relevance * (2 - 2 * rows.sim), (1 - relevance) * short.square()
        slopes = (1 - relevance) * short * per_distance(rows.sim) - relevance
        return rows.sum(near + far) / 2, slopes
