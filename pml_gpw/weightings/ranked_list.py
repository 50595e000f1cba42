"""Ranked list loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .. import checks
from .euclidean import distance
from .pair_rows import Rows
from .row_loss import RowLoss


@dataclass(frozen=True)
class RankedList(RowLoss):
    """Ranked list loss: all positives within one distance, all negatives beyond another.

    With the Euclidean distance `D = √(2 − 2 S)` of rows of norm 1, m = ``margin``,
    λ = ``imbalance``, α = ``alpha``, and sums over the pairs whose bracket is positive:

    `L_i = (1 − λ) Σ_{P_i*} v_ip [D_ip − (α − m)] + λ Σ_{N_i*} v_in [α − D_in]`

    `v_ip = softmax_{P_i*}(T_p (D_ip − (α − m))), v_in = softmax_{N_i*}(T_n (α − D_in))`

    The paper holds v constant in the gradient. Uses S and N.

    Args:
        margin: m, between the two distances.
        tn: T_n, how much harder negatives count more.
        imbalance: λ, the part of the negatives.
        alpha: α; None: 1 + m/2.
        tp: T_p; 0, as in the paper: the plain mean.

    Errors: ValueError for λ outside [0, 1], other numbers that are not finite, and another
    similarity than the cosine.

    Source: Wang et al., Ranked List Loss for Deep Metric Learning, CVPR 2019, eq 2-9.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> RankedList().weights(torch.tensor([[-0.125, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[0.3333, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.2500, 0.2500]]))
    """

    margin: float = 0.4
    tn: float = 10.0
    imbalance: float = 0.5
    alpha: float | None = None
    tp: float = 0.0
    uses: ClassVar[frozenset[str]] = frozenset("SN")
    of_unit_rows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("margin", "tn", "tp", "imbalance"):
            checks.finite(name, getattr(self, name))
        if not 0 <= self.imbalance <= 1:
            raise ValueError(f"imbalance must be a number in [0, 1], got {self.imbalance!r}")
        if self.alpha is None:
            object.__setattr__(self, "alpha", 1 + self.margin / 2)
        else:
            checks.finite("alpha", self.alpha)
        checks.floats(self, "margin", "tn", "imbalance", "alpha", "tp")

    @override
    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        columns = pos.count() + neg.count() + pos.has_self_pair()
        alpha: Any = self.alpha
        far = distance(pos.sim) - pos.expand(alpha - self.margin)
        near = neg.expand(alpha) - distance(neg.sim)
        of_pos = self._mean_of_violations(pos, far, self.tp, columns)
        of_neg = self._mean_of_violations(neg, near, self.tn, columns)
        return (1 - self.imbalance) * of_pos + self.imbalance * of_neg

    def _mean_of_violations(
        self, rows: Rows, excess: Tensor, sharpness: float, columns: Tensor
    ) -> Tensor:
        """The weighted mean (C,) of what is above 0; ``columns`` (C,): the pairs of each row."""
        with torch.no_grad():
            logits = torch.where(excess > 0, excess * rows.expand(sharpness), -torch.inf)
            shares = rows.softmax(logits).nan_to_num(0.0)  # of rows without violations
        return rows.sum(excess * shares)


@dataclass(frozen=True)
class RankedListOfPML(RankedList):
    """The ranked list loss as PML computes it.

    Its weights are `v = e^{T x} / Σ (e^{T x} + 10^{−5})`, with the constant once for each of the M
    columns of the batch. They are differentiated, so that the weight of a pair may have any sign.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> loss = RankedListOfPML(margin=0.4, tn=5.0)
    >>> loss.losses(torch.tensor([[-0.125, 0.5, 0.5]]), positives, negatives)
    tensor([0.4500])
    """

    @override
    def _mean_of_violations(
        self, rows: Rows, excess: Tensor, sharpness: float, columns: Tensor
    ) -> Tensor:
        violates = (excess > 0) & (distance(rows.sim) > 0)
        bounded = torch.where(violates, excess, 0.0)
        weights = torch.where(violates, (bounded * rows.expand(sharpness)).exp(), 0.0)
        return rows.sum(weights * bounded) / (rows.sum(weights) + 1e-5 * columns)
