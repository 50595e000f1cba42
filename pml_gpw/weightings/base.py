"""The base class of pair weightings: the weight of each pair by a formula, as a frozen value."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from .. import checks
from ..value_checks import host_can_read, report
from .dense_rows import DenseRows
from .pair_rows import NO_CONTEXT, Rows
from .rules import declared_uses, newest_of, twin_of


class ChangedInPlace(ValueError):
    """A rule writes into the similarities that it is to read."""

    def __init__(self, rule: str) -> None:
        super().__init__(
            f"{rule} must not change pos.sim or neg.sim in place, which other steps read: make a "
            "new tensor, such as clamp in place of clamp_"
        )


class NeedsCosine(ValueError):
    """A formula of angles or distances of unit rows has other similarities."""

    def __init__(self, weighting: object) -> None:
        super().__init__(
            f"similarity (distance) must be the cosine for {type(weighting).__name__}, which reads "
            "the angle or the Euclidean distance of normalised embeddings from it, got another"
        )


class PairWeights(NamedTuple):
    """The weights of positive and of negative pairs, both ≥ 0, as pair values of their rows.

    >>> import torch
    >>> PairWeights(torch.ones(2), torch.zeros(3)).neg
    tensor([0., 0., 0.])
    """

    pos: Tensor
    neg: Tensor


class Differentiated(NamedTuple):
    """A loss of rows with its derivatives."""

    losses: Tensor  # (C,)
    weights: PairWeights
    of_values: dict[str, Tensor]  # the gradients of the sum of the losses
    of_values_for: Callable[[Tensor], dict[str, Tensor]]  # those for upstream gradients (C,)


#: Which of some anchors count, 1 or 0 each in the dtype of the losses, from losses and numbers of
#: pairs, (C,) each.
Counts = Callable[[Tensor, Tensor, Tensor], Tensor]


class Trained(NamedTuple):
    """The fields of a weighting that are trained, and what is to be known beside the losses."""

    values: dict[str, Tensor]  # () each, or (C,), one for each anchor
    #: The gradients of the losses (C,), or how they follow; None: no gradient is asked for.
    upstream: Tensor | Counts | None = None
    #: Whether weights, as magnitudes, are summed up in place of numbers of pairs.
    sums_weights: bool = False


class Evaluated(NamedTuple):
    """The values of a formula for some anchors."""

    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)
    weights: PairWeights
    gradients: list[Tensor]  # of the trained values, in their shapes


def every_anchor(losses: Tensor, num_pos: Tensor, num_neg: Tensor) -> Tensor:
    """All anchors count: ones (C,)."""
    return torch.ones_like(losses)


class PairWeighting:
    """The weight `w_ij = |∂L/∂S_ij|` of each pair (General Pair Weighting, eq 1-3).

    Subclass it as a frozen dataclass whose fields are the hyper-parameters and override one of

    - :meth:`weigh`: the weights alone. The loss value is then eq 3,
      `Σ_{N_i} w_ij S_ij − Σ_{P_i} w_ij S_ij` with w held constant; its gradient is exactly w.
    - :meth:`evaluate`: each anchor's loss and the weights together, for formulas whose loss is
      known in closed form and shares its sums with the weights.

    The formula sees the pairs of each anchor as :class:`~pml_gpw.weightings.Rows`, which it must
    not change in place. Rows are independent, so an engine may hand over any chunk of C anchors.

    A subclass of a weighting may override either method, and the other one follows from it.
    ``super().weigh()`` and ``super().evaluate()`` are those of the parent's formula.

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

    uses: ClassVar[frozenset[str]] = frozenset()
    """The similarities that the weights use, of "S" (the pair's own), "N" (relative to the anchor's
    negatives; positives for a positive pair) and "P" (relative to its positives). It is read under
    its former name ``similarities`` as well."""

    similarities: ClassVar[frozenset[str]] = frozenset()

    needs_dense: ClassVar[bool] = False
    """True where the formula reads ``DenseRows`` only."""

    levels: ClassVar[tuple[str, ...]] = ()
    """Levels on the similarity axis, such as a margin, by field; where a distance D is read as
    S = −D, they change their signs."""

    has_loss: ClassVar[bool] = True
    """True where there is a loss whose derivative the weights are; else its value is eq 3."""

    any_sign: ClassVar[bool] = False
    """True where weights may be negative."""

    of_unit_rows: ClassVar[bool] = False
    """True where the formula reads cosine similarities, as the distance of unit rows or an angle,
    and is wrong for others."""

    derives_weights: ClassVar[bool] = False
    """True where the weights are taken from the loss by :meth:`differentiated`."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        declared_uses(cls)
        newest = newest_of(cls, PairWeighting, ("evaluate", "weigh"))
        if newest is None:
            raise TypeError(f"{cls.__name__} must override weigh or evaluate")
        cls.has_loss = newest != "weigh"
        if newest == "weigh":
            cls.evaluate = _evaluate_by(cls.weigh)  # type: ignore[method-assign]
        elif newest == "evaluate":
            cls.weigh = _weigh_by(cls.evaluate)  # type: ignore[method-assign]

    def weigh(self, pos: Rows, neg: Rows) -> PairWeights:
        """The weights of the pairs of ``pos`` and ``neg``, as pair values of their layouts."""
        raise NotImplementedError

    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        """Each anchor's loss (C,), with |∂loss/∂S| equal to the weights, and the weights."""
        raise NotImplementedError

    def differentiated(self, values: dict[str, Tensor], pos: Rows, neg: Rows) -> "Differentiated":
        """The losses, the weights and the derivatives by tensors in place of fields."""
        raise NotImplementedError

    def losses_alone(self, pos: Rows, neg: Rows) -> Tensor:
        """Each anchor's loss (C,), without the weights."""
        return self.evaluate(pos, neg)[0]

    def terms(self, pos: Rows, neg: Rows, weights: PairWeights) -> tuple[Tensor, Tensor]:
        """The terms (C,) of either kind in each loss, for "mean_of_active_terms".

        By default the sums of the weights' magnitudes, which are 1 where a hinge is active.
        """
        return pos.sum(weights.pos.abs()), neg.sum(weights.neg.abs())

    def for_negated_distances(self) -> Self:
        """The same weighting for S = −D: its :attr:`levels` change their signs."""
        negated = {name: -getattr(self, name) for name in self.levels}
        return replace(self, **negated) if negated else self  # type: ignore[type-var]

    def weights(self, sim: Tensor, pos: Tensor, neg: Tensor) -> PairWeights:
        """Pair weights of a similarity matrix.

        Shapes: ``sim`` (C, M) float, masks ``pos`` and ``neg`` (C, M) bool; returns (C, M) each,
        ≥ 0 and exactly 0 off the masks.
        Errors: ValueError for other shapes and dtypes, and for NaN.
        """
        pos_rows, neg_rows = self._dense_rows(sim, pos, neg)
        weights = checked_weights(self, self.weigh(pos_rows, neg_rows), pos_rows, neg_rows)
        return PairWeights(pos_rows.to_dense(weights.pos), neg_rows.to_dense(weights.neg))

    def losses(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        """Per-anchor losses (C,), differentiable: |∂losses/∂sim| is :meth:`weights`."""
        return self.losses_alone(*self._dense_rows(sim, pos, neg))

    @staticmethod
    def _dense_rows(sim: Tensor, pos: Tensor, neg: Tensor) -> tuple[DenseRows, DenseRows]:
        checks.similarity_rows(sim, pos, neg)
        return DenseRows(sim, pos), DenseRows(sim, neg, NO_CONTEXT.of_negatives())


def _evaluate_by(weigh: Any) -> Any:
    """The method ``evaluate`` of a formula that gives weights alone: eq 3."""

    def evaluate(self: PairWeighting, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        weights = checked_weights(self, weigh(self, pos, neg), pos, neg)
        losses = neg.sum(weights.neg.detach() * neg.sim) - pos.sum(weights.pos.detach() * pos.sim)
        return losses, weights

    evaluate.__doc__ = PairWeighting.evaluate.__doc__
    return evaluate


def _weigh_by(evaluate: Any) -> Any:
    """The method ``weigh`` of a formula that gives losses and weights together."""

    def weigh(self: PairWeighting, pos: Rows, neg: Rows) -> PairWeights:
        weights: PairWeights = evaluate(self, pos, neg)[1]
        return weights

    weigh.__doc__ = PairWeighting.weigh.__doc__
    return weigh


def evaluated(weighting: PairWeighting, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
    """Each anchor's loss (C,) and the weights of the pairs of ``pos`` and ``neg``.

    Errors: ValueError that names a weighting whose formula returns something else, or changes the
    similarities in place.
    """
    before = pos.version + neg.version
    result = weighting.evaluate(pos, neg)
    refuse_changed(weighting, pos, neg, before)
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(
            f"weighting {type(weighting).__name__} must return losses and PairWeights, "
            f"got {type(result).__name__}"
        )
    return result[0], checked_weights(weighting, result[1], pos, neg)


def evaluated_trained(
    weighting: PairWeighting, pos: Rows, neg: Rows, trained: Trained
) -> Evaluated:
    """Losses and weights with the trained values in place of fields, and the gradients of those.

    Errors: as :func:`evaluated`.
    """
    values, upstream, sums_weights = trained
    of_values: dict[str, Tensor] = {}
    of_values_for: Any = None
    if not values:
        losses, weights = evaluated(weighting, pos, neg)
    elif upstream is None or not weighting.derives_weights:
        losses, weights = evaluated(twin_of(weighting, values), pos, neg)
        of_values_for = partial(_of_values_for, weighting, values, pos, neg)
    else:
        pos, neg = pos.harmless(), neg.harmless()
        before = pos.version + neg.version
        found = weighting.differentiated(values, pos, neg)
        refuse_changed(weighting, pos, neg, before)
        losses, weights, of_values, of_values_for = found
    counts = pos.count(), neg.count()
    if sums_weights:
        counts = twin_of(weighting, values).terms(pos, neg, weights)
    if values and upstream is not None and not (of_values and upstream is every_anchor):
        if not isinstance(upstream, Tensor):
            upstream = upstream(losses, *counts)
        of_values = of_values_for(upstream)
    return Evaluated(losses, *counts, weights, list(of_values.values()))


def _of_values_for(
    weighting: PairWeighting,
    values: dict[str, Tensor],
    pos: Rows,
    neg: Rows,
    upstream: Tensor,
) -> dict[str, Tensor]:
    """The gradients of trained values for upstream gradients (C,) of the losses."""
    pos, neg = pos.harmless(), neg.harmless()

    def losses_of(values: dict[str, Tensor]) -> Tensor:
        return twin_of(weighting, values).losses_alone(pos, neg)

    derivative: Any = torch.func.vjp(losses_of, values)
    (gradients,) = derivative[1](upstream)
    return gradients


def refuse_changed(weighting: PairWeighting, pos: Rows, neg: Rows, before: int) -> None:
    """Raise where the similarities were changed in place since their versions were ``before``."""
    if pos.version + neg.version != before:
        raise ChangedInPlace(f"weighting {type(weighting).__name__}")


def checked_weights(weighting: PairWeighting, weights: object, pos: Rows, neg: Rows) -> PairWeights:
    """The weights that a formula returned, in the dtype of the similarities.

    Errors: ValueError that names the weighting for anything but numbers for pairs.
    """
    if not isinstance(weights, PairWeights):
        raise ValueError(
            f"weighting {type(weighting).__name__} must return PairWeights(pos, neg), "
            f"got {type(weights).__name__}"
        )
    if all(map(_is_as_it_should_be, weights, (pos, neg))):
        return weights
    for side, value, rows in (("positive", weights.pos, pos), ("negative", weights.neg, neg)):
        if not isinstance(value, Tensor) or value.is_complex():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"weighting {type(weighting).__name__} must return tensors of real numbers, got "
                f"{side} weights as {got}; torch.ones_like({side[:3]}.sim) is a 1 for each pair"
            )
        if value.ndim not in (0, rows.sim.ndim):  # (C,) would pass for (1, M) where C is M
            raise ValueError(
                f"weighting {type(weighting).__name__} must return a value for each pair, got "
                f"{side} weights of the shape {tuple(value.shape)} for similarities of "
                f"{tuple(rows.sim.shape)}: bring values of anchors back to pairs by expand"
            )
    return PairWeights(weights.pos.to(pos.sim.dtype), weights.neg.to(neg.sim.dtype))


def _is_as_it_should_be(values: object, rows: Rows) -> bool:
    """The usual case: a value for each pair, in the dtype of the similarities."""
    sim = rows.sim
    return isinstance(values, Tensor) and values.dtype is sim.dtype and values.shape == sim.shape


def refuse_negative_weights(weighting: PairWeighting, *least: Tensor) -> None:
    """Raise a ValueError that names the weighting where its least weights, (), are below 0 or NaN.

    Later, where the host would have to wait for the values.
    """
    for value in least:
        problem = partial(negative_weight, weighting, value.dtype)
        if not host_can_read(value):
            report(value, problem)
        elif (error := problem(value.cpu())) is not None:
            raise error


def negative_weight(
    weighting: PairWeighting, dtype: torch.dtype, least: Tensor
) -> ValueError | None:
    """The error of weights whose least, (), is negative or NaN."""
    value = float(least.numpy())
    if value >= 0 or (weighting.any_sign and value == value):
        return None
    got = f"a weight of {value:g}"
    if value != value:
        got = f"NaN (also where similarities are too large for {dtype})"
    allowed = "finite weights" if weighting.any_sign else "weights >= 0"
    return ValueError(f"weighting {type(weighting).__name__} must give {allowed}, got {got}")
