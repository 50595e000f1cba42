"""Tuplet margin loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from .. import checks
from .pair_rows import Rows
from .row_loss import RowLoss
from .rules import Positive


@dataclass(frozen=True)
class TupletMargin(RowLoss):
    """Tuplet margin loss: each positive pair, seen closer by an angle, against the negatives.

    With S = cos θ, β = ``margin`` in degrees and σ = ``scale``:

    `L_i = Σ_{p ∈ P_i} log[1 + Σ_{N_i} e^{σ (cos θ_in − cos(θ_ip − β))}]`

    A positive pair nearer than β is pushed away. Uses S, N and P. Where S is exactly 1 or −1, the
    angle has no derivative and the pair no weight.

    Errors: ValueError for a margin that is not a finite number, σ ≤ 0, and another similarity than
    the cosine.

    Source: Yu and Tao, Deep Metric Learning with Tuplet Margin Loss, ICCV 2019, eq 6.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> TupletMargin(margin=0.0).losses(torch.tensor([[0.5, 0.5, 0.5]]), positives, negatives)
    tensor([1.0986])
    """

    margin: float = 5.73
    scale: Positive = 64.0
    uses: ClassVar[frozenset[str]] = frozenset("SNP")
    of_unit_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.finite("margin", self.margin)
        checks.positive("scale", self.scale)
        checks.floats(self, "margin", "scale")

    @override
    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        inside = pos.sim.abs() < 1
        at_ends = torch.acos(pos.sim.detach().clamp(-1, 1))  # without the infinite derivative
        angles = torch.where(inside, torch.acos(torch.where(inside, pos.sim, 0.0)), at_ends)
        nearer = torch.cos(angles - pos.expand(self.margin * (math.pi / 180)))
        hardness, _ = neg.logsumexp(neg.sim * neg.expand(self.scale))
        return pos.sum(softplus(pos.expand(hardness) - nearer * pos.expand(self.scale)))
