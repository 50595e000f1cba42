"""What a pair weighting is: a formula for the weight of each pair, as an immutable value."""

from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from .. import checks
from ..value_checks import may_look, report
from .dense_rows import DenseRows
from .pair_rows import Rows


class PairWeights(NamedTuple):
    """The weights of positive and of negative pairs, both ≥ 0, as pair values of their rows.

    >>> import torch
    >>> PairWeights(torch.ones(2), torch.zeros(3)).neg
    tensor([0., 0., 0.])
    """

    pos: Tensor
    neg: Tensor


class PairWeighting:
    """The weight w_ij = |∂L/∂S_ij| of each pair (General Pair Weighting, eq 1-3).

    Subclass it as a frozen dataclass whose fields are the hyper-parameters and override one of

    - :meth:`weigh`: the weights alone. The loss value is then eq 3,
      Σ_neg w_ij S_ij − Σ_pos w_ij S_ij with w held constant; its gradient is exactly w.
    - :meth:`evaluate`: each anchor's loss and the weights together, for formulas whose loss is
      known in closed form and shares its sums with the weights.

    The formula sees the pairs of each anchor as :class:`~pml_gpw.weightings.Rows`. Rows are
    independent, so an engine may hand over any chunk of C anchors.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Focal(PairWeighting):
    ...     power: float = 2.0
    ...
    ...     def weigh(self, pos, neg):
    ...         far, near = (1 - pos.sim).clamp(min=0), neg.sim.clamp(min=0)
    ...         return PairWeights(far**self.power, near**self.power)
    >>> import torch
    >>> positives, negatives = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> Focal().weights(torch.tensor([[0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[0.2500, 0.0000]]), neg=tensor([[0.0000, 0.2500]]))

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric
    Learning, CVPR 2019.
    """

    similarities: ClassVar[frozenset[str]] = frozenset()
    """Which similarities the weights use, of "S" (the pair's own), "N" (relative to the anchor's
    negatives; positives for a positive pair) and "P" (relative to its positives)."""

    needs_dense: ClassVar[bool] = False
    """Whether the formula reads ``DenseRows`` only."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if cls.weigh is PairWeighting.weigh and cls.evaluate is PairWeighting.evaluate:
            raise TypeError(f"{cls.__name__} must override weigh or evaluate")

    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        """The weights of the pairs of ``pos`` and ``neg``, as pair values of their layouts."""
        return self.evaluate(pos, neg)[1]

    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        """Each anchor's loss (C,), with |∂loss/∂S| equal to the weights, and the weights."""
        weights = checked_weights(self, self.weigh(pos, neg), pos, neg)
        losses = neg.sum(weights.neg.detach() * neg.sim) - pos.sum(weights.pos.detach() * pos.sim)
        return losses, weights

    def for_negated_distances(self) -> Self:
        """The same weighting for S = −D: a level on the similarity axis changes its sign."""
        return self

    def weights(self, sim: Tensor, pos: Tensor, neg: Tensor) -> PairWeights:
        """Pair weights of a similarity matrix.

        Shapes: ``sim`` (C, M) float, masks ``pos`` and ``neg`` (C, M) bool; returns (C, M) each,
        ≥ 0 and exactly 0 off the masks.
        Errors: ValueError for other shapes and dtypes, and for NaN.
        """
        checks.similarity_rows(sim, pos, neg)
        pos_rows, neg_rows = DenseRows(sim, pos), DenseRows(sim, neg)
        weights = checked_weights(self, self.weigh(pos_rows, neg_rows), pos_rows, neg_rows)
        return PairWeights(pos_rows.to_dense(weights.pos), neg_rows.to_dense(weights.neg))

    def losses(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        """Per-anchor losses (C,), differentiable: |∂losses/∂sim| is :meth:`weights`."""
        checks.similarity_rows(sim, pos, neg)
        return self.evaluate(DenseRows(sim, pos), DenseRows(sim, neg))[0]


def weigh(weighting: PairWeighting, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
    """Each anchor's loss (C,) and the weights of the pairs of ``pos`` and ``neg``.

    Errors: ValueError that names a weighting whose formula returns something else.
    """
    found = weighting.evaluate(pos, neg)
    if not isinstance(found, tuple) or len(found) != 2:
        raise ValueError(
            f"weighting {type(weighting).__name__} must return losses and PairWeights, "
            f"got {type(found).__name__}"
        )
    return found[0], checked_weights(weighting, found[1], pos, neg)


def checked_weights(weighting: PairWeighting, weights: object, pos: Rows, neg: Rows) -> PairWeights:
    """The weights that a formula returned; ValueError that names it for anything else."""
    if not isinstance(weights, PairWeights):
        raise ValueError(
            f"weighting {type(weighting).__name__} must return PairWeights(pos, neg), "
            f"got {type(weights).__name__}"
        )
    for side, value, rows in (("positive", weights.pos, pos), ("negative", weights.neg, neg)):
        if value.ndim not in (0, rows.sim.ndim):  # (C,) would pass for (1, M) where C is M
            raise ValueError(
                f"weighting {type(weighting).__name__} must return a value for each pair, got "
                f"{side} weights of the shape {tuple(value.shape)} for similarities of "
                f"{tuple(rows.sim.shape)}: bring values of anchors back to pairs by expand"
            )
    return weights


def refuse_negative_weights(weighting: PairWeighting, pos: Tensor, neg: Tensor) -> None:
    """Raise a ValueError that names the weighting where a weight is negative or NaN.

    Later, where a look at values would wait.
    """
    for weights in (pos, neg):
        if weights.numel():
            refuse_negative_weight(weighting, weights.amin())


def refuse_negative_weight(weighting: PairWeighting, least: Tensor) -> None:
    """The same for the least weight, ()."""
    problem = partial(negative_weight, weighting, least.dtype)
    if not may_look(least):
        report(least, problem)
    elif (error := problem(least.cpu())) is not None:
        raise error


def negative_weight(
    weighting: PairWeighting, dtype: torch.dtype, least: Tensor
) -> ValueError | None:
    """The error of weights whose least, (), is negative or NaN."""
    value = float(least.numpy())
    if value >= 0:
        return None
    got = f"a weight of {value:g}"
    if value != value:
        got = f"NaN (also where similarities are too large for {dtype})"
    return ValueError(f"weighting {type(weighting).__name__} must give weights >= 0, got {got}")
