"""FastAP loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .euclidean import squared_distance
from .pair_rows import Rows


@dataclass(frozen=True)
class FastAP(PairWeighting):
    """FastAP: 1 − the average precision of the anchor's row, from soft histograms of distances.

    `L_i = 1 − (1/|P_i|) Σ_k h⁺_k H⁺_k / H_k`

    The histogram is over `D² = 2 − 2 S` in [0, 4] and has ``num_bins`` + 1 edges. `h⁺_k` is the
    number of positives around edge k; `H⁺_k` and `H_k` are the numbers of positives and of all
    pairs up to it. A pair belongs to the two edges beside it, to the nearer one more. A weight is
    ∂L/∂S and may have any sign. Uses S, N and P. An anchor without positives has no loss.

    Errors: ValueError for ``num_bins`` that is no integer > 0, and another similarity than the
    cosine.

    Source: Cakir et al., Deep Metric Learning to Rank, CVPR 2019, eq 7-10.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> FastAP().losses(torch.tensor([[0.9, 0.1, 0.2]]), positives, negatives)
    tensor([0.])
    """

    num_bins: int = 10
    uses: ClassVar[frozenset[str]] = frozenset("SNP")
    of_unit_rows: ClassVar[bool] = True
    any_sign: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive_integer("num_bins", self.num_bins)
        checks.integers(self, "num_bins")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        num_pos, has_positives = pos.count().unsqueeze(1), pos.count() > 0
        places = [squared_distance(rows.sim) * (self.num_bins / 4) for rows in (pos, neg)]
        edges = range(self.num_bins + 1)
        in_pos, in_neg = (  # (C, edges)
            torch.stack([rows.sum((1 - (place - k).abs()).clamp(min=0)) for k in edges], dim=1)
            for rows, place in zip((pos, neg), places, strict=True)
        )
        up_to_pos, up_to = in_pos.cumsum(dim=1), (in_pos + in_neg).cumsum(dim=1)
        counts = (up_to_pos > 0) & (up_to > 0)
        whole = torch.where(counts, up_to, 1.0)
        precision = torch.where(counts, up_to_pos / whole, 0.0)
        found = (in_pos * precision).sum(dim=1) / num_pos.squeeze(1).clamp(min=1)
        # ∂/∂h of Σ h⁺ H⁺/H: a pair is in the sums of its edge and of all later ones.
        of_pos, of_all = in_pos / whole, in_pos * precision / whole
        of_pos, of_all = (
            torch.where(counts, v, 0.0).flip(1).cumsum(1).flip(1) for v in (of_pos, of_all)
        )
        scale = (self.num_bins / 2) / num_pos.clamp(min=1)  # −∂place/∂S, over p
        pos_slopes, neg_slopes = scale * (precision + of_pos - of_all), -scale * of_all
        return torch.where(has_positives, 1 - found, 0.0), PairWeights(
            self._of_pairs(pos, places[0], pos_slopes), -self._of_pairs(neg, places[1], neg_slopes)
        )

    def _of_pairs(self, rows: Rows, place: Tensor, slopes: Tensor) -> Tensor:
        """The derivative of the sums of slopes (C, edges) with S, as pair values."""
        total = torch.zeros_like(place)
        for k in range(self.num_bins + 1):
            away = place - k
            total = total + torch.where(away.abs() < 1, away.sign(), 0.0) * rows.expand(
                slopes[:, k]
            )
        return total
