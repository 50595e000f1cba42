"""A check that a weighting of one's own keeps its promises, to be called where it is written."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from .base import PairWeighting, PairWeights, Trained, evaluated, evaluated_trained
from .dense_rows import DenseRows
from .pair_rows import NO_CONTEXT, Rows
from .rules import checked_rule
from .sparse_rows import SparseRows

ANCHORS, REFERENCES = 6, 11  # of other sizes, so that values of anchors do not pass for pairs
TOLERANCE = 1e-8
ADVICE = "use the operations of the rows, and bring values of anchors back to their pairs by expand"

LOST_GRADIENT = (
    "float(), math.log, new_tensor and attributes that __post_init__ derives lose the gradient of "
    "a field, and a row value that meets pairs without expand reaches other rows"
)

Result = TypeVar("Result")


class ExampleRows(NamedTuple):
    """Similarities (C, M) in float64 and the masks (C, M) of positives and negatives."""

    sim: Tensor
    pos: Tensor
    neg: Tensor

    def as_layout(self, layout: type[DenseRows] | type[SparseRows]) -> tuple[Rows, Rows]:
        """The positive and the negative pairs in one of the layouts."""
        make = DenseRows if layout is DenseRows else SparseRows.of
        return make(self.sim, self.pos), make(self.sim, self.neg, NO_CONTEXT.of_negatives())


def check_weighting(weighting: PairWeighting) -> None:
    """Raise a ValueError where a weighting does not keep what a :class:`PairWeighting` promises.

    It takes random similarities of 6 anchors and 11 references, some anchors without positives or
    without negatives. There

    - each anchor must have a finite loss;
    - each pair must have a weight that is not NaN and, except for a ``RowLoss``, not negative;
    - both layouts, and each anchor by itself, must give the same weights: without ``expand``, a
      value of one anchor reaches the pairs of others;
    - the weights must be `|∂L/∂S|` (eq 2) of the losses that ``evaluate`` returns, by autograd.

    It cannot know which formula was meant.

    >>> from pml_gpw.weightings import MultiSimilarity
    >>> check_weighting(MultiSimilarity())
    """
    checked_rule("weighting", weighting, PairWeighting)
    name = type(weighting).__name__
    for seed in range(4):
        rows = example_rows(seed)
        losses, dense = _weighed(weighting, DenseRows, rows)
        for kind, some in (("positive", dense.pos), ("negative", dense.neg)):
            wrong = some.isnan() if weighting.any_sign else ~(some >= 0)
            if wrong.any():
                allowed = "finite weights" if weighting.any_sign else "weights >= 0"
                raise ValueError(
                    f"weighting {name} must give {allowed}, got {float(some.min()):g} "
                    f"for a {kind} pair"
                )
        if not losses.isfinite().all():
            raise ValueError(
                f"weighting {name} must give finite losses, without positives or negatives too, "
                f"got {losses.tolist()}: use torch.where on count()"
            )
        if not weighting.needs_dense:
            found = _weighed(weighting, SparseRows, rows)
            _refuse_others(name, "as lists of pairs", found, (losses, dense))
        parts = [
            _weighed(weighting, DenseRows, ExampleRows(*(m[i : i + 1] for m in rows)))
            for i in range(ANCHORS)
        ]
        pos, neg = (torch.cat([weights[side] for _, weights in parts]) for side in (0, 1))
        alone = torch.cat([part[0] for part in parts]), PairWeights(pos, neg)
        _refuse_others(name, "with each anchor by itself", alone, (losses, dense))
        _refuse_other_gradient(weighting, rows, dense)


def check_trained(weighting: PairWeighting, name: str, per_anchor: bool = False) -> None:
    """Raise a ValueError unless a field can be trained.

    In float64, on random rows, the gradient of the field is compared with central differences of
    the losses. ``float()``, ``math.log``, ``new_tensor`` and attributes that are derived in
    ``__post_init__`` would make it zero or wrong in silence.

    ``per_anchor``: try one value per anchor, which has to come to pairs by ``expand``. In a batch
    with itself, with as many anchors as references, a missing ``expand`` would not be noticed.

    >>> from pml_gpw.weightings import MultiSimilarity
    >>> check_trained(MultiSimilarity(), "beta")
    """
    kind = type(weighting).__name__
    if not weighting.has_loss:
        raise ValueError(
            f"trainable must be empty for {kind}, which overrides weigh alone: its loss is eq 3 "
            "with weights held constant, so that nothing tells what its fields do; write evaluate, "
            "or the loss of a RowLoss"
        )
    layouts: list[type[DenseRows] | type[SparseRows]] = [DenseRows, SparseRows]
    if weighting.needs_dense:
        layouts.remove(SparseRows)
    for seed, layout in itertools.product(range(4), layouts):
        pos, neg = example_rows(seed).as_layout(layout)
        found, expected = in_words(
            f"{kind} with a tensor as {name}",
            layout,
            partial(_field_gradients, weighting, name, per_anchor, pos, neg),
        )
        if not torch.allclose(found, expected, 1e-4, 1e-4):
            place = int((found - expected).abs().argmax())
            got, change = (float(values.flatten()[place]) for values in (found, expected))
            raise ValueError(
                f"trainable must not name {name!r} of {kind}, whose gradient is {got:g} "
                f"where the losses change by {change:g}: {LOST_GRADIENT}"
            )


def refuse_missing_expand(weighting: PairWeighting) -> None:
    """Raise a ValueError where values of anchors meet those of pairs without ``expand``.

    A batch with itself has as many anchors as references, so that nothing would tell there. What
    else may be wrong with a formula is left to :func:`check_weighting`.
    """
    if type(weighting).__module__.startswith("pml_gpw."):
        return
    try:
        evaluated(weighting, *example_rows(0).as_layout(DenseRows))
    except Exception as error:  # of any formula
        if "must match the size of tensor" in str(error):
            raise ValueError(
                f"weighting {type(weighting).__name__} lets values of anchors meet those of pairs "
                f"({error}): {ADVICE}"
            ) from error


def _field_gradients(
    weighting: PairWeighting, name: str, per_anchor: bool, pos: Rows, neg: Rows
) -> tuple[Tensor, Tensor]:
    """The gradient of a field, () or (C,), by autograd and by central differences."""
    value = float(getattr(weighting, name))
    step = 1e-6 * max(1.0, abs(value))
    upstream = torch.linspace(-1, 2, ANCHORS, dtype=torch.float64, device="cpu")
    # An anchor without negatives, or without positives, may have an infinite loss: it is left out.
    upstream = upstream.where(weighting.losses_alone(pos, neg).isfinite(), 0.0)
    shape = (ANCHORS,) if per_anchor else ()
    tensor = torch.full(shape, value, dtype=torch.float64, device="cpu")
    found = evaluated_trained(weighting, pos, neg, Trained({name: tensor}, upstream)).gradients[0]
    more, less = (
        replace(weighting, **{name: value + sign * step}).losses_alone(pos, neg)  # type: ignore[type-var]
        for sign in (1, -1)
    )
    changes = ((more - less) / (2 * step)).nan_to_num(0.0) * upstream
    return found, changes if per_anchor else changes.sum()


def example_rows(seed: int) -> ExampleRows:
    """Random rows; the first anchor has no negatives, the second no positives."""
    generator, shape = torch.Generator().manual_seed(seed), (2, ANCHORS, REFERENCES)
    both = torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")
    sim, side = 2 * both[0] - 1, both[1]
    pos, neg = side < 0.4, side > 0.5  # some pairs are neither
    pos[1].fill_(False)
    neg[0].fill_(False)
    return ExampleRows(sim, pos, neg)


def in_words(name: str, layout: type[Rows], call: Callable[[], Result]) -> Result:
    """The result of a call; where torch refuses it, a ValueError that says the likely reason."""
    try:
        return call()
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(
            f"{name} cannot be computed for {ANCHORS} anchors and {REFERENCES} references as "
            f"{layout.__name__} ({error}): {ADVICE}"
        ) from error


def _weighed(
    weighting: PairWeighting, layout: type[DenseRows] | type[SparseRows], rows: ExampleRows
) -> tuple[Tensor, PairWeights]:
    """Losses (C,) and weights (C, M) by one of the layouts."""
    name = type(weighting).__name__

    def call() -> tuple[Tensor, PairWeights]:
        sides = rows.as_layout(layout)
        losses, weights = evaluated(weighting, *sides)
        if losses.shape != rows.sim.shape[:1]:
            raise RuntimeError(f"losses of shape {tuple(losses.shape)}")
        matrices = (s.to_dense(v.expand_as(s.sim)) for s, v in zip(sides, weights, strict=True))
        return losses, PairWeights(*matrices)

    return in_words(f"weighting {name}", layout, call)


def _refuse_others(
    name: str,
    how: str,
    found: tuple[Tensor, PairWeights],
    expected: tuple[Tensor, PairWeights],
) -> None:
    for what, one, other in (
        ("positive weights", found[1].pos, expected[1].pos),
        ("negative weights", found[1].neg, expected[1].neg),
        ("losses", found[0], expected[0]),
    ):
        if not torch.allclose(one, other, TOLERANCE, TOLERANCE):
            place = int((one - other).abs().argmax())
            raise ValueError(
                f"weighting {name} must give the same {what} {how}, got "
                f"{float(one.flatten()[place]):g}, not {float(other.flatten()[place]):g}: {ADVICE}"
            )


def _refuse_other_gradient(
    weighting: PairWeighting, rows: ExampleRows, weights: PairWeights
) -> None:
    sim = rows.sim.clone().requires_grad_()
    losses = weighting.losses(sim, rows.pos, rows.neg)
    (gradient,) = torch.autograd.grad(losses.sum(), sim)
    signed_weights = weights.neg - weights.pos
    difference = (gradient - signed_weights).abs()
    if difference.max() > TOLERANCE * (1 + gradient.abs().max()):
        place = int(difference.argmax())
        signed, expected = (float(m.flatten()[place]) for m in (signed_weights, gradient))
        raise ValueError(
            f"weights of {type(weighting).__name__} must be the derivative of the losses of its "
            f"evaluate (positives with a minus), got {signed:g}, not {expected:g}, at a similarity "
            f"of {float(rows.sim.flatten()[place]):g}"
        )
