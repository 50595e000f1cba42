"""A loss of the similarities of each anchor, whose pair weights are its derivative.

Shapes: C rows of a chunk, M references, K pairs that count.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from .base import Differentiated, PairWeighting, PairWeights
from .pair_rows import Rows
from .rules import newest_of, twin_of


class RowLoss(PairWeighting):
    """A loss of rows of similarities: write :meth:`loss`, and its pair weights follow.

    Subclass it as a frozen dataclass whose fields are the hyper-parameters. The weight of a pair is
    the derivative of its anchor's loss, +∂L/∂S for a negative pair and −∂L/∂S for a positive one
    (eq 2), and may have any sign: a positive pair whose weight is negative is pushed away.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class SupCon(RowLoss):
    ...     temperature: float = 0.1
    ...
    ...     def loss(self, pos, neg):
    ...         every = pos.union(neg)
    ...         sums, _ = every.logsumexp(every.sim / self.temperature)
    ...         return sums - pos.mean(pos.sim) / self.temperature
    >>> positives, negatives = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> SupCon(temperature=1.0).weights(torch.tensor([[0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[0.5000, 0.0000]]), neg=tensor([[0.0000, 0.5000]]))
    """

    any_sign: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: object) -> None:
        newest = newest_of(cls, RowLoss, ("loss", "evaluate", "weigh"))
        if newest is None:
            raise TypeError(f"{cls.__name__} must override loss")
        if newest == "loss":
            cls.evaluate = RowLoss.evaluate  # type: ignore[method-assign]
            cls.weigh = RowLoss.weigh  # type: ignore[method-assign]
            cls.losses_alone = RowLoss.losses_alone  # type: ignore[method-assign]
        elif newest:
            cls.losses_alone = PairWeighting.losses_alone  # type: ignore[method-assign]
        super().__init_subclass__(**kwargs)
        cls.derives_weights = cls.evaluate is RowLoss.evaluate

    def loss(self, pos: Rows, neg: Rows) -> Tensor:
        """Each anchor's loss (C,), in the operations of ``Rows`` and arithmetic."""
        raise NotImplementedError

    @override
    def losses_alone(self, pos: Rows, neg: Rows) -> Tensor:
        return _checked_losses(self, pos, neg)

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        found = self.differentiated({}, pos, neg)
        return found.losses, found.weights

    @override
    def differentiated(self, values: dict[str, Tensor], pos: Rows, neg: Rows) -> Differentiated:
        def losses_of(values: dict[str, Tensor], pos_sim: Tensor, neg_sim: Tensor) -> Tensor:
            twin = twin_of(self, values) if values else self
            return _checked_losses(twin, pos.with_sim(pos_sim), neg.with_sim(neg_sim))

        derivative: Any = torch.func.vjp(losses_of, values, pos.sim, neg.sim)
        losses, pullback = derivative
        of_values, of_pos, of_neg = pullback(torch.ones_like(losses))
        weights = PairWeights(-of_pos, of_neg)
        return Differentiated(losses, weights, of_values, lambda upstream: pullback(upstream)[0])


def _checked_losses(rule: RowLoss, pos: Rows, neg: Rows) -> Tensor:
    losses = rule.loss(pos, neg)
    if not isinstance(losses, Tensor) or losses.shape != (pos.num_rows,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"weighting {type(rule).__name__} must return a loss for each of {pos.num_rows} "
            f"anchors, got {got}: take values of pairs together by sum, mean or logsumexp"
        )
    return losses
