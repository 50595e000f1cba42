"""The dense program: masked rows of similarities, chunk by chunk, eager or compiled.

dX = W·Y and dY = Wᵀ·X with the signed pair weights W (eq 1-3); Y = X in self-comparison.
Shapes: N anchors, M references, D dims, C rows of a chunk.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from ..checks import finite_similarities
from ..mining.base import mine_rows
from ..value_checks import host_can_read
from ..weightings import DenseRows
from ..weightings.base import Trained, evaluated_trained, refuse_negative_weights
from ..weightings.pair_rows import RowContext
from .compiled import call_compiled
from .label_pairs import LabelPairs, label_masks
from .pairs import without_self_pairs
from .plan import Chunk, Program, Upstream, factors
from .unit_rows import normalized
from .weighted_pairs import WeightedPairs


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


class WeightedRows(NamedTuple):
    """The losses of the rows of a chunk and the weights of their pairs."""

    losses: Tensor  # (C,)
    num_pos: Tensor  # (C,)
    num_neg: Tensor  # (C,)
    of_trained: list[Tensor]  # the gradients of trained values, in their shapes
    least: Tensor  # (), the least weight, which must not be negative
    signed: Tensor  # (C, M), + for negatives and − for positives


def sum_dense(
    x: Tensor, y: Tensor, program: Program, forms: tuple[bool, bool], upstream: Upstream
) -> AnchorSums:
    """The losses of all anchors and the gradients of ``x`` (N, D) and ``y`` (M, D).

    ``upstream``: the gradients of the losses.
    """
    is_one_product = any(forms) and program.holds_all_weights
    all_rows = x.new_empty(len(x), len(x)) if is_one_product else None
    sums = AnchorSums.zeros(x, y, (False, False) if is_one_product else forms, program)
    for anchors, sim in iter_products(x, y, program, all_rows):
        rows = _chunk_rows(sim, anchors, program, upstream)
        refuse_negative_weights(program.weighting, rows.least)
        sums.add_chunk(anchors, *rows[:4])
        if (some := factors(upstream, anchors, *rows[:3])) is not None:
            rows.signed.mul_(some)
        if any(forms) and all_rows is None:
            sums.add_products(anchors, rows.signed, x, y)
    return sums if all_rows is None else sums._replace(grad_x=symmetrized(all_rows) @ x)


def dense_chunks(x: Tensor, y: Tensor, program: Program) -> Iterator[Chunk]:
    """The mined rows of each chunk of anchors, valid until the next one."""
    for anchors, sim in iter_products(x, y, program):
        masks = *program.pairs.graded_masks(anchors), program.context.at(anchors)
        yield anchors, *mine_rows(*graded_rows(sim, *masks), program.mining)


def graded_rows(
    sim: Tensor, pos: Tensor, neg: Tensor, relevance: Tensor | float, context: RowContext
) -> tuple[DenseRows, DenseRows]:
    """The rows (C, M) of positives and of negatives, with the relevance of their pairs."""
    context = context._replace(relevance=relevance)
    return DenseRows(sim, pos, context), DenseRows(sim, neg, context.of_negatives())


def _chunk_rows(sim: Tensor, anchors: slice, program: Program, upstream: Upstream) -> WeightedRows:
    """The losses and weights of a chunk; the weights take the place of the similarities."""
    pairs = program.pairs
    if isinstance(pairs, WeightedPairs):
        return _rows_of_relations(sim, anchors, program, upstream)
    if not program.is_compiled:
        context, masks = program.context.at(anchors), pairs.graded_masks(anchors)
        trained = program.trained_at(anchors, upstream)
        return weighted_rows(sim, *masks, context, trained, program.weighting, program.mining)
    if isinstance(pairs, LabelPairs):
        tensors: Any = (sim, pairs.labels[anchors], pairs.reference_labels)
        template: Any = _rows_of_own_labels if pairs.symmetric else _rows_of_labels
    else:
        pos, neg, relevance = pairs.graded_masks(anchors)
        tensors, template = (sim, pos, neg), _ungraded_rows
        if isinstance(relevance, Tensor):
            tensors, template = (sim, pos, neg, relevance), weighted_rows
    rows: WeightedRows = call_compiled(template, tensors, program, anchors, upstream)
    return rows


def _rows_of_relations(
    sim: Tensor, anchors: slice, program: Program, upstream: Upstream
) -> WeightedRows:
    """The weighted sum of the rows of each relation, from one product."""
    assert isinstance(program.pairs, WeightedPairs)
    signed, found = torch.zeros_like(sim), []
    for pairs, weight in program.pairs.parts:
        rows = _chunk_rows(sim.clone(), anchors, program._replace(pairs=pairs), upstream)
        signed.add_(rows.signed, alpha=weight)
        of_trained = [weight * gradient for gradient in rows.of_trained]
        found.append(rows._replace(losses=weight * rows.losses, of_trained=of_trained))
    sides = zip(*(rows[:3] for rows in found), strict=True)
    losses, num_pos, num_neg = (torch.stack(each).sum(dim=0) for each in sides)
    of_trained = [torch.stack(each).sum(dim=0) for each in zip(*(f[3] for f in found), strict=True)]
    least = torch.stack([rows.least for rows in found]).amin()
    return WeightedRows(losses, num_pos, num_neg, of_trained, least, sim.copy_(signed))


def weighted_rows(
    sim: Tensor,
    pos: Tensor,
    neg: Tensor,
    relevance: Tensor | float,
    context: RowContext,
    trained: Trained,
    *rules: Any,
) -> WeightedRows:
    """Mine and weigh rows (C, M) of similarities whose candidates ``pos`` and ``neg`` mask.

    ``trained``: values in place of fields of the weighting; ``rules``: weighting and mining.

    The weights are written over the similarities, which eq 1-3 need no more: new memory would cost
    more than the sums.
    """
    weighting, mining = rules
    rows = mine_rows(*graded_rows(sim, pos, neg, relevance, context), mining)
    found = evaluated_trained(weighting, *rows, trained)
    pos_weights, neg_weights = (r.to_dense(w) for r, w in zip(rows, found.weights, strict=True))
    # Row by row first: a compiler puts it into the loops over rows that there are.
    least = torch.minimum(pos_weights.amin(dim=1), neg_weights.amin(dim=1)).amin()
    signed = torch.sub(neg_weights, pos_weights, out=sim)
    return WeightedRows(*found[:3], found.gradients, least, signed)


def _ungraded_rows(sim: Tensor, pos: Tensor, neg: Tensor, *others: Any) -> WeightedRows:
    return weighted_rows(sim, pos, neg, 1.0, *others)


def _rows_of_labels(
    sim: Tensor, labels: Tensor, reference_labels: Tensor, context: RowContext, *rules: Any
) -> WeightedRows:
    masks = label_masks(labels, reference_labels, context.self_index)
    return weighted_rows(sim, *masks, 1.0, context, *rules)


def _rows_of_own_labels(
    sim: Tensor, labels: Tensor, reference_labels: Tensor, context: RowContext, *rules: Any
) -> WeightedRows:
    """Rows whose self pairs have equal labels: negatives are not looked through for them."""
    pos, neg = label_masks(labels, reference_labels)
    pos, _ = without_self_pairs(pos, neg, context.self_index)
    return weighted_rows(sim, pos, neg, 1.0, context, *rules)


def sum_as_one_graph(x: Tensor, program: Program, upstream: Upstream) -> AnchorSums:
    """Losses and the gradient of ``x`` (N, D), not normalised yet, of a batch with itself.

    Normalisation, products, rows and gradient as one function: for batches of some hundred
    embeddings most of a step is the cost of calling its operations one by one.
    """
    assert isinstance(program.pairs, LabelPairs)
    tensors = x, program.pairs.labels, program.pairs.reference_labels
    *sums, least = call_compiled(_batch_of_labels, tensors, program, slice(0, len(x)), upstream)
    refuse_negative_weights(program.weighting, least)
    return AnchorSums(*sums)


def _batch_of_labels(
    x: Tensor, labels: Tensor, reference_labels: Tensor, context: RowContext, *others: Any
) -> tuple[Any, ...]:
    unit = normalized(x)
    sim = unit.rows @ unit.rows.T
    rows = _rows_of_own_labels(sim, labels, reference_labels, context, *others)
    some = factors(others[0].upstream, slice(0, len(x)), *rows[:3])
    signed = rows.signed if some is None else rows.signed * some
    gradient = unit.gradient((signed + signed.T) @ unit.rows)
    return *rows[:3], gradient, None, rows.of_trained, rows.least


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
