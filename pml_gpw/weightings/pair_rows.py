"""The pairs of each anchor, as rows: one view, two layouts.

A weighting or mining rule writes its formula once against :class:`Rows` and never asks which
layout it has. Pair values are ``(C, M)`` in the dense layout (anything off the mask is ignored)
and ``(K,)`` in the sparse layout; row values are ``(C,)`` in both. C rows of a chunk, M references,
K pairs that count.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from .counter_uniform import counter_uniform


class RowContext(NamedTuple):
    """The place of rows in their batch, which a rule may ask for beside their similarities."""

    first_anchor: int = 0
    """The number of the first row in its batch."""
    key: Tensor | None = None
    """() int64, the random key of a call, where a rule draws random numbers."""
    self_index: Tensor | None = None
    """(C,) the column of each anchor itself among the references, −1 where it is not there."""
    relevance: Tensor | float = 1.0
    """(C, M) the relevance of the pairs, where they are graded; else that of positives."""

    def at(self, rows: slice) -> "RowContext":
        """The context of some of the rows."""
        self_index = None if self.self_index is None else self.self_index[rows]
        return RowContext(self.first_anchor + rows.start, self.key, self_index, self.relevance)

    def of_negatives(self) -> "RowContext":
        """The context of the negative pairs of the same rows."""
        return self if isinstance(self.relevance, Tensor) else self._replace(relevance=0.0)


NO_CONTEXT = RowContext()
"""The context of rows that are a whole batch, of which nothing else is known."""


class Rows(ABC):
    """The positive (or negative) pairs of C anchors, and the reductions over each row.

    ``sim`` holds the similarities of the pairs in the layout of pair values.

    >>> import torch
    >>> from pml_gpw.weightings import DenseRows
    >>> mask = torch.tensor([[True, False, True]])
    >>> rows = DenseRows(torch.tensor([[0.5, 0.9, -0.5]]), mask)
    >>> rows.count(), rows.sum(rows.sim), rows.max(rows.sim)
    (tensor([2.]), tensor([0.]), tensor([0.5000]))
    """

    sim: Tensor
    context: RowContext

    @property
    def version(self) -> int:
        """The number of changes of the similarities in place; 0 where torch does not count them."""
        sim = self.sim
        return 0 if torch.compiler.is_compiling() or sim.is_inference() else sim._version

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """C, the number of rows."""

    @abstractmethod
    def count(self) -> Tensor:
        """The number of pairs of each row, (C,), in the dtype of ``sim``."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """The row sums of pair values, (C,); 0 for an empty row."""

    def max(self, values: Tensor) -> Tensor:
        """The row maxima of pair values, (C,); -inf for an empty row."""
        return self._taken(values, self._max_of_masked(self.masked(values.detach())))

    def min(self, values: Tensor) -> Tensor:
        """The row minima of pair values, (C,); inf for an empty row."""
        return self._taken(values, self._min(values.detach()))

    def kth_largest(self, values: Tensor, k: int) -> Tensor:
        """The k-th largest pair value of each row, (C,); -inf for a row of fewer pairs."""
        return self._taken(values, self._kth_largest(values.detach(), k))

    def mean(self, values: Tensor) -> Tensor:
        """The row means of pair values, (C,); 0 for an empty row."""
        return self.sum(values) / self.count().clamp(min=1)

    @abstractmethod
    def first(self, mask: Tensor, count: Tensor | int = 1) -> Tensor:
        """The pairs of the lowest columns of each row among those in ``mask``, as a mask.

        ``count``: how many of each row, a number or row values.
        """

    @abstractmethod
    def masked(self, values: Tensor) -> Tensor:
        """The pair values, with -inf wherever the layout has no pair."""

    def expand(self, row_values: Tensor | float) -> Tensor | Any:
        """Row values (C,) brought back to the pairs of their rows, broadcastable to pair values.

        A number, or a tensor (), is the same for all rows and stays as it is.
        """
        if isinstance(row_values, Tensor) and row_values.ndim:
            return self._expanded(row_values)
        return row_values

    @abstractmethod
    def union(self, other: "Rows") -> "Rows":
        """The pairs of these rows and of others of the same anchors, as positives and negatives."""

    @abstractmethod
    def dense(self) -> "Rows":
        """The same pairs as masked rows."""

    @abstractmethod
    def harmless(self) -> Self:
        """The same pairs, with similarities of pairs wherever the layout has none.

        What stands there, such as -inf, may have infinite derivatives, and 0 · inf is NaN.
        """

    @abstractmethod
    def with_sim(self, sim: Tensor) -> Self:
        """The same pairs with other similarities, in the same layout."""

    @abstractmethod
    def to_dense(self, values: Tensor) -> Tensor:
        """The pair values as a (C, M) matrix that is exactly 0 off the pairs."""

    @abstractmethod
    def filter(self, keep: Tensor) -> "Rows":
        """The rows with only those pairs for which ``keep`` (bool pair values) holds."""

    @abstractmethod
    def indices(self) -> tuple[Tensor, Tensor]:
        """The rows and columns (K,) of the pairs, row by row."""

    @abstractmethod
    def with_context(self, context: RowContext) -> Self:
        """The same rows at another place."""

    @property
    @abstractmethod
    def anchor_index(self) -> Tensor:
        """The number of each pair's anchor in its batch, broadcastable to pair values."""

    @property
    @abstractmethod
    def reference_index(self) -> Tensor:
        """The column of each pair's reference, broadcastable to pair values."""

    @property
    def relevance(self) -> Tensor:
        """The relevance of the reference of each pair to its anchor, as pair values.

        1 for positives and 0 for negatives where pairs are not graded.
        """
        grades = self.context.relevance
        if not isinstance(grades, Tensor):
            return torch.full_like(self.sim, grades)
        return self._graded(grades).to(self.sim.dtype)

    def uniform(self, salt: int) -> Tensor:
        """Uniform random numbers in (0, 1), as pair values.

        They depend on the key of the call, ``salt``, anchor and reference alone, so that chunks,
        layouts and processes draw alike, while one call differs from the next.
        Errors: RuntimeError where the rule that asks does not say ``is_random = True``.
        """
        if self.context.key is None:
            raise RuntimeError(
                "uniform needs the random key of a call, which is drawn for a mining that says "
                "`is_random: ClassVar[bool] = True`"
            )
        return counter_uniform(
            self.context.key, salt, self.anchor_index, self.reference_index, self.sim.dtype
        )

    def softmax(self, values: Tensor) -> Tensor:
        """The share of each pair in `Σ e^v` of its row, as pair values."""
        return self.logsumexp(values)[1]

    def softplus(self, values: Tensor) -> Tensor:
        """`log(1 + Σ e^v)` of each row, (C,); 0 for an empty row."""
        return self.logsumexp(values, plus_one=True)[0]

    def has_self_pair(self) -> Tensor:
        """True where an anchor is itself among the references, (C,): a pair that is not in rows."""
        if self.context.self_index is None:
            return torch.zeros_like(self.count(), dtype=torch.bool)
        return self.context.self_index >= 0

    def spread(self, row_values: Tensor) -> Tensor:
        """The former name of :meth:`expand`."""
        return self.expand(row_values)

    @abstractmethod
    def _graded(self, relevance: Tensor) -> Tensor: ...

    @abstractmethod
    def _min(self, values: Tensor) -> Tensor: ...

    @abstractmethod
    def _kth_largest(self, values: Tensor, k: int) -> Tensor: ...

    @abstractmethod
    def _expanded(self, row_values: Tensor) -> Tensor: ...

    def _taken(self, values: Tensor, found: Tensor) -> Tensor:
        """Values (C,) that were found in rows; their gradient goes to the first pair that has them.

        Between equals torch's own reductions would share it, or take any.
        """
        if not values.requires_grad:
            return found
        first = self.first(values.detach() == self.expand(found))
        taken = self.sum(torch.where(first, values, 0.0))
        return torch.where(found.isfinite(), taken, found)

    # The same reductions for values that are -inf, or 0, already wherever there is no pair.

    @abstractmethod
    def _max_of_masked(self, values: Tensor) -> Tensor: ...

    @abstractmethod
    def _sum_of_zeroed(self, values: Tensor) -> Tensor: ...

    def logsumexp(self, values: Tensor, plus_one: bool = False) -> tuple[Tensor, Tensor]:
        """`log Σ e^v` of each row, (C,), and each pair's share of the sum, its derivative.

        ``plus_one`` adds a 1 to each sum: `log(1 + Σ e^v)`. An empty row gives -inf (0 with the 1).
        The exponentials are taken once, relative to the largest: nothing overflows, and shares
        keep full precision however large the values.
        """
        values = self.masked(values)
        shift = self._max_of_masked(values.detach()).clamp(
            min=0.0 if plus_one else torch.finfo(values.dtype).min
        )
        exponentials = (values - self.expand(shift)).exp_()
        sums = self._sum_of_zeroed(exponentials)
        if not plus_one:
            empty = sums == 0  # whose logarithm has no gradient
            log = sums.masked_fill(empty, 1.0).log().masked_fill(empty, -torch.inf)
            return log + shift, exponentials / self.expand(sums)
        # log1p, because all exponentials of a row may underflow or be small beside the 1.
        rest = sums + torch.expm1(-shift)  # Σ e^v + 1, over the largest, less 1
        return torch.log1p(rest) + shift, exponentials / self.expand(rest + 1)
