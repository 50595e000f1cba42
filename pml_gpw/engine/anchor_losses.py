"""The losses of the anchors of a batch: the one place that chooses how they are computed."""

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..mining import PairMining
from ..mining.base import mine_rows
from ..value_checks import may_look, report
from ..weightings import DenseRows, PairWeighting
from .chunks import AUTO, Plan, StreamedBatch
from .dense import dense_losses
from .mined_indices import mined_indices
from .pair_batch import AnchorLosses, PairBatch
from .pairs import IndexTuple
from .similarity import Similarity
from .streaming import streamed_losses


def anchor_losses(
    batch: PairBatch,
    weighting: PairWeighting,
    mining: PairMining | None,
    similarity: Similarity,
    plan: Plan = AUTO,
    uniform_upstream: bool = False,
) -> AnchorLosses:
    """Each anchor's loss, and the numbers of its pairs that were weighed.

    Inner products are streamed, in chunks of anchors and with the gradient formed by hand. Other
    similarities are a matrix whose own gradient autograd takes; so are inner products where
    ``torch.compile`` traces the call, since a loop over chunks would be another graph for each N.

    ``uniform_upstream``: whether all anchors will have the same upstream gradient, as below a mean
    or a sum. Gradients are then formed in forward; else backward goes through the chunks again.

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
    if similarity.is_inner_product and not torch.compiler.is_compiling():
        streamed = _streamed_batch(batch, mining, similarity, plan)
        found = AnchorLosses(*streamed_losses(streamed, weighting, uniform_upstream))
        _refuse_infinite_losses(weighting, found.losses)
        return found
    sim = similarity.matrix(batch.anchors, batch.references)
    pos, neg = _dense_rows(sim.detach(), batch, mining)
    losses = dense_losses(sim, pos.mask, neg.mask, weighting)
    _refuse_infinite_losses(weighting, losses)
    return AnchorLosses(losses, pos.count(), neg.count())


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
    if similarity.is_inner_product and not torch.compiler.is_compiling():
        return mined_indices(_streamed_batch(batch, mining, similarity, plan))
    sim = similarity.matrix(batch.anchors, batch.references)
    pos, neg = _dense_rows(sim, batch, mining)
    return *pos.indices(), *neg.indices()


def _refuse_infinite_losses(weighting: PairWeighting, losses: Tensor) -> None:
    """Raise a ValueError where similarities are too large for the formula."""
    losses = losses.detach()
    problem = partial(_infinite_loss, weighting)
    if not may_look(losses):
        report(losses, problem)
    elif not math.isfinite(float(losses.sum())) and (error := problem(losses.cpu())) is not None:
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


def _streamed_batch(
    batch: PairBatch, mining: PairMining | None, similarity: Similarity, plan: Plan
) -> StreamedBatch:
    x, y, normalized = similarity.factors(batch.anchors, batch.references)
    rules = batch.pairs, mining, batch.origin, plan
    return StreamedBatch(x, y, *rules, normalized, needs_gradient=y.requires_grad)


def _dense_rows(
    sim: Tensor, batch: PairBatch, mining: PairMining | None
) -> tuple[DenseRows, DenseRows]:
    pos, neg = batch.pairs.masks(slice(0, len(batch.anchors)))
    rows = DenseRows(sim, pos, batch.origin), DenseRows(sim, neg, batch.origin)
    return mine_rows(*rows, mining)
