"""The ground that the programs of the engine share: what is computed, its products, the sums.

Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from ..checks import finite_similarities
from ..mining import PairMining
from ..value_checks import host_can_read
from ..weightings import Rows
from ..weightings.derivatives import Counts, Trained, every_anchor
from ..weightings.pair_rows import RowContext
from .pairs import Pairs
from .reduction import Reduction

#: Some anchors, their positive and their negative rows.
Chunk = tuple[slice, Rows, Rows]
#: The gradients of the losses of all anchors (N,), or how they follow from the losses; None: 1.
Upstream = Tensor | Counts | None


def factors(upstream: Upstream, anchors: slice, *found: Tensor) -> Tensor | None:
    """The gradients (C, 1) of the losses of some anchors; None: 1 each.

    ``found``: their losses and numbers of pairs, (C,) each.
    """
    if upstream is None or upstream is every_anchor:
        return None
    some = upstream[anchors] if isinstance(upstream, Tensor) else upstream(*found)
    return some.unsqueeze(1)


class Program(NamedTuple):
    """A batch without its embeddings: its pairs, the rules for them, and how they are computed."""

    pairs: Pairs
    context: RowContext
    weighting: Any  # a PairWeighting; None: to mine alone
    mining: PairMining | None
    reduction: Reduction  # what will be made of the losses
    #: "dense", "sparse rows" or "sparse batch" as in a plan, or "matrix": by the gradient of a
    #: matrix of similarities.
    layout: str
    #: Anchors per chunk.
    chunk_size: int = 0
    #: Whether embeddings are scaled to norm 1 first.
    normalizes: bool = False
    #: Whether inner products might overflow and are looked at.
    checks_products: bool = False
    #: Whether dense rows go through ``torch.compile``.
    is_compiled: bool = False
    #: Whether it is an error where they cannot.
    is_strict: bool = False
    #: Whether normalisation and both products are in the compiled function as well.
    is_one_graph: bool = False
    #: Whether dense weights of all anchors are held, so that one product takes both their sides.
    holds_all_weights: bool = False
    #: Values in place of fields of the weighting: () each, or (N,), one for each anchor.
    trained: Mapping[str, Tensor] = MappingProxyType({})
    #: Pairs of a batch, or of a side of a matrix, that are held as lists, at most.
    most_pairs: int = 0

    def trained_at(self, anchors: slice, upstream: Upstream) -> Trained:
        """The trained values of some anchors, with the upstream gradients of all."""
        values = {name: v[anchors] if v.ndim else v for name, v in self.trained.items()}
        if isinstance(upstream, Tensor):
            upstream = upstream[anchors] if values else None
        return Trained(values, upstream, self.reduction.sums_weights)


class AnchorSums(NamedTuple):
    """The losses and numbers of pairs of all anchors, and the gradients that are summed up."""

    losses: Tensor  # (N,)
    num_pos: Tensor  # (N,)
    num_neg: Tensor  # (N,)
    grad_x: Tensor | None = None  # (N, D)
    grad_y: Tensor | None = None  # (M, D), unless the references are the anchors
    of_trained: Sequence[Tensor] = ()  # of trained values, in their shapes

    @classmethod
    def zeros(cls, x: Tensor, y: Tensor, forms: tuple[bool, bool], program: Program) -> Self:
        """Room for all anchors, made before the first chunk.

        What outlives a chunk must not be made between its large tensors: their memory could not be
        used again, and the process would grow by a chunk for each chunk.
        """
        grad_x = x.new_zeros(x.shape) if any(forms) else None
        grad_y = y.new_zeros(y.shape) if forms[1] and y is not x else None
        losses, num_pos, num_neg = x.new_zeros(3, x.shape[0]).unbind()
        of_trained = [torch.zeros_like(value) for value in program.trained.values()]
        return cls(losses, num_pos, num_neg, grad_x, grad_y, of_trained)

    def add_chunk(self, anchors: slice, *values: Any) -> None:
        """Write losses and numbers of pairs (C,), and add a list of gradients of trained values."""
        *per_anchor, of_trained = values
        for room, some in zip(self[:3], per_anchor, strict=True):
            room[anchors] = some
        for room, gradient in zip(self.of_trained, of_trained, strict=False):
            (room[anchors] if room.ndim else room).add_(gradient)

    def add_products(self, anchors: slice, signed: Tensor, x: Tensor, y: Tensor) -> None:
        """Add the signed weights (C, M) of a chunk to the gradients: W·y, and Wᵀ·x."""
        assert self.grad_x is not None
        if y is x and signed.shape[0] == x.shape[0]:  # one product takes both sides
            self.grad_x.addmm_(symmetrized(signed), x)
            return
        self.grad_x[anchors].addmm_(signed, y)
        of_references = self.grad_x if y is x else self.grad_y
        if of_references is not None:
            of_references.addmm_(signed.T, x[anchors])


def iter_products(
    x: Tensor, y: Tensor, program: Program, all_rows: Tensor | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """The anchors and similarities (C, M) of each chunk, in one buffer: valid until the next.

    ``all_rows`` (N, M): where they stand side by side, and stay valid.
    Errors: ValueError for similarities that are not finite.
    """
    n = x.shape[0]
    size = max(1, min(program.chunk_size, n))
    buffer = x.new_empty(size, y.shape[0]) if all_rows is None else all_rows
    for start in range(0, n, size):
        anchors = slice(start, min(start + size, n))
        sim = buffer[: anchors.stop - start] if all_rows is None else buffer[anchors]
        torch.mm(x[anchors], y.T, out=sim)
        if program.checks_products:
            finite_similarities(sim, program.context.first_anchor + start)
        yield anchors, sim


#: Rows and columns of a part of a matrix that is transposed within a cache.
TILE = 512


def symmetrized(matrix: Tensor) -> Tensor:
    """``matrix`` + its transpose, (N, N); a matrix of more than one tile is overwritten."""
    n = matrix.shape[0]
    if n <= TILE or not host_can_read(matrix):  # in one operation on accelerators
        return matrix + matrix.T
    tiles = [slice(start, start + TILE) for start in range(0, n, TILE)]
    for rows, columns in itertools.combinations_with_replacement(tiles, 2):
        both = matrix[rows, columns] + matrix[columns, rows].T
        matrix[rows, columns], matrix[columns, rows] = both, both.T
    return matrix
