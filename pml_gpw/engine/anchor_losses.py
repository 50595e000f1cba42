"""The losses of the anchors of a batch, and the pairs that a mining keeps.

Shapes: N anchors, M references, D dims, K pairs.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..checks import finite_values
from ..mining import PairMining
from ..precision import engine_context
from ..value_checks import raise_arrived
from ..weightings import PairWeighting
from ..weightings.base import every_anchor
from .batch import AnchorLosses, PairBatch
from .dense import AnchorSums, dense_chunks, sum_as_one_graph, sum_dense
from .double_backward import once_differentiable
from .growing import GrowingTensors
from .matrix import matrix_losses, matrix_rows
from .pairs import IndexTuple, Pairs
from .plan import AUTO, DENSE, MATRIX, Plan, Program, Upstream, choose_program
from .reduction import NONE, Reduction
from .similarity import Similarity
from .sparse.chunks import sparse_chunks
from .sparse.sums import sum_sparse
from .unit_rows import UnitRows, normalized
from .weighted_pairs import WeightedPairs

INFINITE_LOSS = (
    "embeddings must give finite losses, got {value} from {weighting} for anchor {first} "
    "({bad} in all): similarities too large for {dtype}, a division by zero, a log of no pairs"
)


def anchor_losses(
    batch: PairBatch,
    weighting: PairWeighting,
    mining: PairMining | None,
    similarity: Similarity,
    plan: Plan = AUTO,
    reduction: Reduction = NONE,
    trained: Mapping[str, Tensor] = MappingProxyType({}),
) -> AnchorLosses:
    """Each anchor's loss, and the numbers of its pairs that were weighed.

    Inner products are streamed, in chunks of anchors: gradients of anchors (N, D) and references
    (M, D) are W·y and Wᵀ·x with the signed pair weights W (eq 1-3), taken through the
    normalisation where there is one. Other similarities are a matrix whose own gradient autograd
    takes; so are inner products where a user's ``torch.compile`` traces the call.

    ``reduction``: the mean or sum that will be taken of the losses, so that gradients are
    formed in forward; where it is not known, backward goes through the chunks again.
    ``trained``: values in place of fields of the weighting, which get gradients as well: () each,
    or (N,), one for each anchor, in the dtype of the anchors.
    Errors: RuntimeError on double backward, and for labels that were changed in place before
    backward looks at them again; ValueError that names the weighting for weights that
    are negative or NaN, and for losses that are not finite.

    >>> import torch
    >>> from pml_gpw.engine import InnerProduct, LabelPairs, PairBatch
    >>> x, labels = torch.eye(3), torch.tensor([0, 0, 1])
    >>> batch = PairBatch(x, x, LabelPairs(labels, labels, torch.arange(3)))
    >>> from pml_gpw.weightings import LiftedStructure
    >>> anchor_losses(batch, LiftedStructure(), None, InnerProduct()).losses
    tensor([1., 1., 0.])
    """
    if 0 in batch.pairs.shape:
        none = sum((value.sum() for value in trained.values()), batch.references.sum())
        losses = 0 * (batch.anchors.sum(dim=1) + none)
        return AnchorLosses(losses, losses.detach(), losses.detach())
    with engine_context(batch.anchors):
        program = choose_program(batch, weighting, mining, similarity, plan, reduction)
        if similarity.is_negated_distance:
            trained = {k: -v if k in weighting.levels else v for k, v in trained.items()}
        program = program._replace(trained=trained)
        if program.layout == MATRIX:
            result = matrix_losses(similarity.matrix(batch.anchors, batch.references), program)
        else:
            x, y = similarity.factors(batch.anchors, batch.references)
            other = None if y is x else y
            if not torch.is_grad_enabled():  # no gradient is formed for what asks for none
                x, other = x.detach(), None if other is None else other.detach()
            arguments = x, other, program, *program.trained.values()
            result = AnchorLosses(*_StreamedLosses.apply(*arguments))
        finite_values(result.losses.detach(), INFINITE_LOSS, weighting=type(weighting).__name__)
    return result


def mined_pairs(
    batch: PairBatch, mining: PairMining, similarity: Similarity, plan: Plan = AUTO
) -> IndexTuple:
    """The pairs of a batch that a rule keeps, as (a1, p, a2, n), each once, row by row.

    >>> import torch
    >>> from pml_gpw.engine import InnerProduct, LabelPairs, PairBatch
    >>> x, labels = torch.eye(3), torch.tensor([0, 0, 1])
    >>> batch = PairBatch(x, x, LabelPairs(labels, labels, torch.arange(3)))
    >>> from pml_gpw.mining import BatchHardMining
    >>> mined_pairs(batch, BatchHardMining(), InnerProduct())
    (tensor([0, 1]), tensor([1, 0]), tensor([0, 1]), tensor([2, 2]))
    """
    with engine_context(batch.anchors):
        program = choose_program(batch, None, mining, similarity, plan)
        if program.layout == MATRIX:
            both = matrix_rows(similarity.matrix(batch.anchors, batch.references), program)
            return *both[0].indices(), *both[1].indices()
        x, y = _unit_rows(*similarity.factors(batch.anchors, batch.references), program)
        chunks = dense_chunks if program.layout == DENSE else sparse_chunks
        index = batch.anchors.new_empty(0, dtype=torch.int64)
        sides = GrowingTensors(index, index), GrowingTensors(index, index)
        for anchors, pos, neg in chunks(x.rows, y.rows, program):
            if anchors == slice(0, batch.anchors.shape[0]):
                return *pos.indices(), *neg.indices()
            for side, rows in zip(sides, (pos, neg), strict=True):
                anchor, other = rows.indices()
                side.append(anchor + anchors.start, other)
    (a1, p), (a2, n) = (side.tensors() for side in sides)
    return a1, p, a2, n


class _StreamedLosses(torch.autograd.Function):
    """The losses (N,) of inner products and the numbers of pairs weighed, (N,) each."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        x, other, program, *values = inputs
        trained = {k: v.detach() for k, v in zip(program.trained, values, strict=True)}
        program, needs = program._replace(trained=trained), ctx.needs_input_grad[:2]
        link = next((i for i, n in zip(inputs, ctx.needs_input_grad, strict=True) if n), None)
        upstream = None if link is None else program.reduction.counts
        forms_now = upstream is not None
        rows: tuple[UnitRows, ...] = ()
        if forms_now and program.is_one_graph:
            sums = sum_as_one_graph(x, program, upstream)
        else:
            rows = _unit_rows(x, x if other is None else other, program)
            sums = _sums(*rows, program, needs if forms_now else (False, False), upstream)
        if link is not None:
            formed = (*sums[3:5], *sums.of_trained)
            saved = formed if forms_now else [part for side in rows for part in side]
            counted = None
            # The first of those that count, whose upstream gradient is that of all.
            if upstream is not None and upstream is not every_anchor:
                counted = upstream(*sums[:3]).argmax().view(1)
            ctx.save_for_backward(link, counted, *saved)
            ctx.program, ctx.needs, ctx.is_same = program, needs, other is None
            ctx.versions = None if forms_now else _versions(program.pairs)
        ctx.mark_non_differentiable(sums.num_pos, sums.num_neg)
        ctx.set_materialize_grads(False)
        return sums.losses, sums.num_pos, sums.num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        raise_arrived()
        if upstream is None:
            return (None,) * (3 + len(ctx.program.trained))
        link, counted, *saved = ctx.saved_tensors
        if ctx.versions is None:  # gradients were formed in forward
            scale = upstream[0] if counted is None else upstream.gather(0, counted)[0]
            gradients = [None if g is None else g * scale for g in saved]
        else:
            if _versions(ctx.program.pairs) != ctx.versions:
                raise RuntimeError("labels or pairs were changed in place before backward")
            x = UnitRows(*saved[:3])
            y = x if ctx.is_same else UnitRows(*saved[3:])
            # Whoever calls backward may do so under autocast, or with create_graph.
            with torch.no_grad(), engine_context(upstream):
                sums = _sums(x, y, ctx.program, ctx.needs, upstream)
                gradients = [*sums[3:5], *sums.of_trained]
        if torch.is_grad_enabled():  # with create_graph=True
            gradients = once_differentiable(gradients, link)
        return *gradients[:2], None, *gradients[2:]


def _unit_rows(x: Tensor, y: Tensor, program: Program) -> tuple[UnitRows, UnitRows]:
    """The matrices that are multiplied; one object where the embeddings are."""
    scaled = normalized if program.normalizes else UnitRows
    rows = scaled(x)
    return rows, rows if y is x else scaled(y)


def _sums(
    x: UnitRows, y: UnitRows, program: Program, forms: tuple[bool, bool], upstream: Upstream
) -> AnchorSums:
    """The losses by the program of the task, with gradients of the embeddings."""
    summed = sum_dense if program.layout == DENSE else sum_sparse
    sums = summed(x.rows, y.rows, program, forms, upstream)
    sides = zip((x, y), sums[3:5], strict=True)
    grad_x, grad_y = (None if g is None else rows.gradient(g) for rows, g in sides)
    return sums._replace(grad_x=grad_x, grad_y=grad_y)


def _versions(pairs: Pairs) -> list[int]:
    """The numbers of changes in place of each tensor of the pairs."""
    if isinstance(pairs, WeightedPairs):
        return [version for part, _ in pairs.parts for version in _versions(part)]
    tensors = (value for value in vars(pairs).values() if isinstance(value, Tensor))
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]
