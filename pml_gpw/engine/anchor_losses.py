"""The losses of the anchors of a batch, and the pairs that a mining keeps.

Shapes: N anchors, M references, D dims, K pairs.
"""

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from ..mining import PairMining
from ..precision import full_precision
from ..value_checks import host_can_read, raise_arrived, report
from ..weightings import PairWeighting
from .batch import AnchorLosses, PairBatch
from .dense import dense_chunks, sum_as_one_graph, sum_dense
from .double_backward import ForbidDoubleBackward
from .growing import GrowingTensors
from .matrix import matrix_losses, matrix_rows
from .pairs import IndexTuple, Pairs
from .plan import AUTO, DENSE, MATRIX, Plan, Program, choose_program
from .similarity import Similarity
from .sparse.chunks import sparse_chunks
from .sparse.sums import sum_sparse
from .task import AnchorSums, Task
from .unit_rows import UnitRows, normalized

F = TypeVar("F", bound=Callable[..., Any])


def _outside_inference_mode(function: F) -> F:
    """The same function, run where torch counts what is changed in place."""

    @wraps(function)
    def outside(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return cast(F, outside)


@_outside_inference_mode
def anchor_losses(
    batch: PairBatch,
    weighting: PairWeighting,
    mining: PairMining | None,
    similarity: Similarity,
    plan: Plan = AUTO,
    uniform_upstream: bool = False,
) -> AnchorLosses:
    """Each anchor's loss, and the numbers of its pairs that were weighed.

    Inner products are streamed, in chunks of anchors: gradients of anchors (N, D) and references
    (M, D) are W·y and Wᵀ·x with the signed pair weights W (eq 1-3), taken through the
    normalisation where there is one. Other similarities are a matrix whose own gradient autograd
    takes; so are inner products where a user's ``torch.compile`` traces the call.

    ``uniform_upstream``: whether all anchors will have the same upstream gradient, as below a mean
    or a sum. Gradients are then formed in forward; else backward goes through the chunks again.
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
    if similarity.is_negated_distance:
        weighting = weighting.for_negated_distances()
        mining = None if mining is None else mining.for_negated_distances()
    program = choose_program(batch, weighting, mining, similarity, plan, uniform_upstream)
    if program.layout == MATRIX:
        sim = similarity.matrix(batch.anchors, batch.references)
        result = matrix_losses(sim, batch, weighting, mining)
    else:
        task = _task(batch, weighting, mining, similarity, program)
        x, y = similarity.factors(batch.anchors, batch.references)
        other = None if y is x else y
        if not torch.is_grad_enabled():  # no gradient is formed for what asks for none
            x, other = x.detach(), None if other is None else other.detach()
        with full_precision(x):
            result = AnchorLosses(*_StreamedLosses.apply(x, other, task, uniform_upstream))
    _refuse_infinite_losses(weighting, result.losses)
    return result


@_outside_inference_mode
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
    if similarity.is_negated_distance:
        mining = mining.for_negated_distances()
    program = choose_program(batch, None, mining, similarity, plan)
    if program.layout == MATRIX:
        sim = similarity.matrix(batch.anchors, batch.references)
        pos, neg = matrix_rows(sim, batch, mining)
        return *pos.indices(), *neg.indices()
    task = _task(batch, None, mining, similarity, program)
    x, y = _unit_rows(*similarity.factors(batch.anchors, batch.references), task)
    chunks = dense_chunks if program.layout == DENSE else sparse_chunks
    index = batch.anchors.new_empty(0, dtype=torch.int64)
    sides = GrowingTensors(index, index), GrowingTensors(index, index)
    for anchors, pos, neg in chunks(x.rows, y.rows, task):
        if anchors == slice(0, batch.anchors.shape[0]):
            return *pos.indices(), *neg.indices()
        for side, rows in zip(sides, (pos, neg), strict=True):
            anchor, other = rows.indices()
            side.append(anchor + anchors.start, other)
    (a1, p), (a2, n) = (side.tensors() for side in sides)
    return a1, p, a2, n


def _task(
    batch: PairBatch,
    weighting: PairWeighting | None,
    mining: PairMining | None,
    similarity: Similarity,
    program: Program,
) -> Task:
    normalizes = similarity.is_normalized
    return Task(batch.pairs, batch.context, weighting, mining, program, normalizes)


class _StreamedLosses(torch.autograd.Function):
    """The losses (N,) of inner products and the numbers of pairs weighed, (N,) each."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, other: Tensor | None, task: Task, uniform_upstream: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs = ctx.needs_input_grad[:2]
        forms_now = uniform_upstream and any(needs)
        rows = None
        if forms_now and task.program.is_one_graph:
            sums = sum_as_one_graph(x, task)
        else:
            rows = _unit_rows(x, x if other is None else other, task)
            sums = _sums(*rows, task, needs if forms_now else (False, False))
        if any(needs):
            saved = (sums.grad_x, sums.grad_y) if forms_now else (*rows[0], *rows[1])
            ctx.save_for_backward(x if needs[0] else other, *saved)
            ctx.task, ctx.needs, ctx.is_same = task, needs, other is None
            ctx.versions = None if forms_now else _versions(task.pairs)
        ctx.mark_non_differentiable(sums.num_pos, sums.num_neg)
        ctx.set_materialize_grads(False)
        return sums.losses, sums.num_pos, sums.num_neg

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        raise_arrived()
        if upstream is None:
            return (None,) * 4
        link, *saved = ctx.saved_tensors
        if ctx.versions is None:  # gradients were formed in forward
            scale = upstream[0] if len(upstream) else 0.0
            gradients = [None if g is None else g * scale for g in saved]
        else:
            if _versions(ctx.task.pairs) != ctx.versions:
                raise RuntimeError("labels or pairs were changed in place before backward")
            x = UnitRows(*saved[:3])
            y = x if ctx.is_same else UnitRows(*saved[3:])
            # Whoever calls backward may do so under autocast, or with create_graph.
            with torch.no_grad(), full_precision(upstream):
                gradients = list(_sums(x, y, ctx.task, ctx.needs, upstream)[3:])
        if torch.is_grad_enabled():  # create_graph=True
            gradients = [g if g is None else ForbidDoubleBackward.apply(g, link) for g in gradients]
        return *gradients, None, None


def _unit_rows(x: Tensor, y: Tensor, task: Task) -> tuple[UnitRows, UnitRows]:
    """The matrices that are multiplied; one object where the embeddings are."""
    scaled = normalized if task.normalizes else UnitRows
    rows = scaled(x)
    return rows, rows if y is x else scaled(y)


def _sums(
    x: UnitRows,
    y: UnitRows,
    task: Task,
    forms_gradients: tuple[bool, bool],
    upstream: Tensor | None = None,
) -> AnchorSums:
    """The losses by the program of the task, with gradients of the embeddings."""
    program = sum_dense if task.program.layout == DENSE else sum_sparse
    sums = program(x.rows, y.rows, task, forms_gradients, upstream)
    grad_x, grad_y = (
        None if gradient is None else rows.gradient(gradient)
        for rows, gradient in ((x, sums.grad_x), (y, sums.grad_y))
    )
    return sums._replace(grad_x=grad_x, grad_y=grad_y)


def _versions(pairs: Pairs) -> list[int]:
    """How often each tensor of the pairs was changed in place."""
    tensors = [value for value in vars(pairs).values() if isinstance(value, Tensor)]
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _refuse_infinite_losses(weighting: PairWeighting, losses: Tensor) -> None:
    """Raise a ValueError where similarities are too large for the formula."""
    losses = losses.detach()
    problem = partial(_infinite_loss, weighting)
    if not host_can_read(losses):
        report(losses, problem)
    elif not math.isfinite(losses.sum().item()) and (error := problem(losses.cpu())) is not None:
        raise error


def _infinite_loss(weighting: PairWeighting, losses: Tensor) -> ValueError | None:
    values = losses.numpy()
    bad = (~np.isfinite(values)).nonzero()[0]
    if len(bad) == 0:
        return None
    return ValueError(
        f"embeddings must give finite losses, got {values[bad[0]]} from "
        f"{type(weighting).__name__} for anchor {bad[0]} ({len(bad)} in all): similarities "
        f"too large for {losses.dtype}, or a formula that divides by zero"
    )
