"""The base class of pair minings: a rule that says which pairs count, as an immutable value."""

from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from .. import checks
from ..weightings import DenseRows, Rows
from ..weightings.base import ChangedInPlace
from ..weightings.pair_rows import RowContext
from ..weightings.rules import declared_uses, newest_of


class PairMining:
    """A rule that chooses, among the candidate pairs of each anchor, those that count.

    Subclass it as a frozen dataclass whose fields are the rule's parameters and override
    :meth:`select`. The rule sees the pairs of each anchor as
    :class:`~pml_gpw.weightings.Rows`, which it must not change in place. Rows are independent, so
    an engine may hand over any chunk of C anchors, in either layout.

    A subclass that overrides :meth:`select` does not inherit :meth:`negative_lower_bound`, which is
    a promise about the rule of its parent.

    A random rule sets ``is_random = True`` and calls ``rows.uniform(salt)``: numbers that depend
    on the call, ``salt`` and the pair, but not on chunks or processes.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class NearerThanTheMean(PairMining):
    ...     def select(self, pos, neg):
    ...         mean = neg.sum(neg.sim) / neg.count().clamp(min=1)
    ...         return pos.sim == pos.sim, neg.sim > neg.expand(mean)
    >>> import torch
    >>> sim = torch.tensor([[0.9, 0.5, 0.1]])
    >>> NearerThanTheMean()(sim, torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1])
    (tensor([[ True, False, False]]), tensor([[False,  True, False]]))
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    """The similarities that the rule looks at, of "S" (the pair's own), "N" (relative to the
    anchor's other pairs of its kind) and "P" (relative to those of the other kind). It is read
    under its former name ``similarities`` as well."""

    similarities: ClassVar[frozenset[str]] = frozenset()

    needs_dense: ClassVar[bool] = False
    """True where the rule reads ``DenseRows`` only."""

    is_random: ClassVar[bool] = False
    """True where the rule draws random numbers; a key is then drawn from torch's generator in each
    call."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        declared_uses(cls)
        if cls.select is PairMining.select:
            raise TypeError(f"{cls.__name__} must override select")
        if newest_of(cls, PairMining, ("select", "negative_lower_bound")) == "select":
            cls.negative_lower_bound = PairMining.negative_lower_bound  # type: ignore[method-assign]

    def select(self, pos: Rows, neg: Rows) -> tuple[Tensor, Tensor]:
        """The pairs of ``pos`` and of ``neg`` that stay, as bool pair values of their layouts."""
        raise NotImplementedError

    def for_negated_distances(self) -> Self:
        """The same rule for S = −D: a level on the similarity axis changes its sign."""
        return self

    def negative_lower_bound(self, hardest_pos: Tensor) -> Tensor | None:
        """A similarity (C,) at or below which no negative of an anchor matters; None: unknown.

        It is a promise: with all negatives at or below it removed, ``select`` keeps the same
        positives and negatives. The engine then need not look at them, and may mine a batch from
        half of its products. ``inf`` says that an anchor keeps nothing.

        Shapes: ``hardest_pos`` (C,), the anchor's smallest similarity to a positive, inf where it
        has none.
        """
        return None

    def __call__(
        self, sim: Tensor, pos: Tensor, neg: Tensor, key: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The masks of the pairs that stay; ``sim``, ``pos``, ``neg``: (C, M).

        ``key``: () int64, where the rule is random. Errors: ValueError for other shapes and dtypes,
        and for NaN.
        """
        checks.similarity_rows(sim, pos, neg)
        context = RowContext(key=key)
        negatives = DenseRows(sim, neg, context.of_negatives())
        rows = mine_rows(DenseRows(sim, pos, context), negatives, self)
        return rows[0].mask, rows[1].mask


R = TypeVar("R", DenseRows, Rows)


def mine_rows(pos: R, neg: R, mining: PairMining | None) -> tuple[R, R]:
    """The rows that are left after mining.

    Errors: ValueError that names the rule for a ``select`` that returns something else than two
    bool tensors, or changes the similarities in place.
    """
    if mining is None:
        return pos, neg
    before = pos.version + neg.version
    kept = mining.select(pos, neg)
    if pos.version + neg.version != before:
        raise ChangedInPlace(f"select of {type(mining).__name__}")
    two = isinstance(kept, tuple) and len(kept) == 2
    if not (two and _is_mask_of(pos, kept[0]) and _is_mask_of(neg, kept[1])):
        raise ValueError(
            f"select of {type(mining).__name__} must return two tensors of booleans, pair values "
            f"of pos and of neg, got {_described(kept)}"
        )
    return pos.filter(kept[0]), neg.filter(kept[1])


def _is_mask_of(rows: Rows, value: object) -> bool:
    """True where a value is bool pair values of rows; row values must have been expanded."""
    if not isinstance(value, Tensor) or value.dtype is not torch.bool:
        return False
    if value.shape == rows.sim.shape:
        return True
    sizes = zip(value.shape, rows.sim.shape, strict=False)
    return value.ndim == rows.sim.ndim and all(a in (1, b) for a, b in sizes)


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} {tuple(value.shape)}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_described, value)) + ")"
    return type(value).__name__
