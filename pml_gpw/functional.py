"""Pair weighting losses and mining as functions of tensors, without pytorch-metric-learning.

Values and gradients are those of the losses and miners of this package, from the same engine.
Shapes: N anchors, M references, D dims, K pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from . import checks
from .arguments import ArgumentNames, pair_batch
from .columns import checked_directions, column_comparisons, share_an_id
from .engine import (
    AnchorLosses,
    PairBatch,
    Plan,
    anchor_losses,
    mined_pairs,
    share_a_label,
)
from .engine.pairs import IndexTuple
from .engine.similarity import SIMILARITIES, GivenSimilarities
from .engine.warm_up import warm_up
from .engine.weighted_pairs import WeightedPairs
from .mining import MSMining, PairMining
from .pair_weight_table import PairWeightTable
from .precision import full_precision
from .reductions import REDUCTIONS, ReductionName
from .relations import LINEAR, WeightedRelations
from .weightings import MultiSimilarity, PairWeighting
from .weightings.check import check_trained
from .weightings.rules import number_fields, refuse_tensors

__all__ = ["column_loss", "gpw_loss", "mine", "ms_loss", "pair_weights", "share_a_label", "warm_up"]

Relation = Callable[[Tensor, Tensor], Tensor]
Pairs = Tensor | tuple[Tensor, Tensor] | Relation | WeightedRelations
_NAMES = ArgumentNames("references", "reference_labels")


def gpw_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    weighting: PairWeighting,
    mining: PairMining | None = None,
    *,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    pairs: Pairs | None = None,
    self_index: Tensor | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    reduction: ReductionName = "mean",
    chunk_size: int | None = None,
    fused: bool | None = None,
    parameters: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """The loss whose gradient is a pair weighting (General Pair Weighting, eq 1-3).

    `L = (1/N) Σ_i L_i`, where `L_i` is the weighting's loss of anchor i and `∂L_i/∂S_ij` the signed
    weight of a pair. It streams in chunks of anchors and holds no large N×M matrix (64 MB, 128 on
    accelerators), whatever says which pairs there are. Similarities are computed in at least
    float32, also under autocast.

    Args:
        embeddings: the anchors (N, D).
        labels: their labels (N,), integers; with ``pairs`` a relation of labels of any kind
            (N, …); None where ``indices_tuple`` or matrices name the pairs.
        weighting: the weight of each pair.
        mining: which candidate pairs are weighed at all; None: every one.
        references: (M, D); None: the embeddings themselves.
        reference_labels: their labels (M,); None: those of the anchors, in order.
        indices_tuple: the candidate pairs (a1, p, a2, n), or triplets (a, p, n), counted once each.
        pairs: the candidate pairs in another form. A matrix (N, M) of booleans: True is a positive,
            False a negative; or of numbers: the relevance of each pair, > 0 a positive, 0 a
            negative, NaN no pair, which formulas read as ``pos.relevance``; two matrices of
            booleans: the positives and the negatives; a function from the labels of some anchors
            (C, …) and those of the references (M, …) to a matrix (C, M), such as
            :func:`share_a_label` and those of :mod:`pml_gpw.relations`; or several of these at
            once, :class:`pml_gpw.relations.WeightedRelations`.
        self_index: (N,) the place of each anchor itself among the references, −1 for none; None:
            found where the references are the embeddings, or equal them. That pair is left out.
        similarity: "cosine", or "dot" for embeddings as they are.
        reduction: "mean", "sum", or "none" for the losses of the anchors (N,);
            "mean_of_anchors_with_pairs", "mean_of_anchors_with_positives" (SupCon's own), the sum
            over the number of positive pairs, "mean_of_positive_pairs" (NT-Xent of PML),
            "mean_of_nonzero", over anchors whose loss is > 0 (SupCon and Circle of PML), or the
            sum over that of the pair weights, "mean_of_active_terms" (margin loss of PML: the
            weight of a hinge is 1 where it is active, else 0).
        chunk_size: anchors per chunk; None: as many as suit the cache.
        fused: whether masks, mining and weighting go through ``torch.compile`` as one function,
            which takes some seconds once for a weighting and mining (:func:`warm_up`); None: on
            accelerators where that works, on a CPU not. Values are the same to rounding.
        parameters: tensors in place of fields of the weighting, which get gradients as well: ()
            each, or (N,), one for each anchor. In the first call with a class and a field a trial
            says whether the formula takes it so.

    Returns:
        The loss, (), or the losses of the anchors, (N,), with reduction "none".

    Raises:
        ValueError: that names the argument at fault.
        CannotFuse: a RuntimeError, where ``fused`` is True and ``torch.compile`` does not work.

    Reference: Wang et al., CVPR 2019, section 3.

    >>> import torch
    >>> from pml_gpw.weightings import LiftedStructure
    >>> gpw_loss(torch.eye(4), torch.tensor([0, 0, 1, 1]), LiftedStructure())
    tensor(1.6931)
    >>> tags = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 0]])
    >>> gpw_loss(torch.eye(4), tags, LiftedStructure(), pairs=share_a_label, reduction="none")
    tensor([1.6931, 0.0000, 1.6931, 1.6931])
    >>> margin = torch.tensor(0.5, requires_grad=True)
    >>> given = {"margin": margin}
    >>> gpw_loss(torch.eye(4), torch.tensor([0, 0, 1, 1]), LiftedStructure(), parameters=given)
    tensor(1.1931, grad_fn=<MeanBackward0>)
    """
    checks.one_of("reduction", reduction, REDUCTIONS)
    checks.one_of("similarity", similarity, SIMILARITIES)
    if chunk_size is not None:
        checks.positive_integer("chunk_size", chunk_size)
    _check_rules(weighting, mining)
    checks.optional_boolean("fused", fused)
    if isinstance(pairs, WeightedRelations):
        checks.one_of("reduction of several relations", reduction, LINEAR)
    given = labels, references, reference_labels, indices_tuple, pairs, self_index, mining
    batch = _batch(embeddings, *given)
    with full_precision(embeddings):
        losses: AnchorLosses = anchor_losses(
            batch,
            weighting,
            mining,
            SIMILARITIES[similarity],
            Plan(chunk_size, fused=fused),
            reduction=REDUCTIONS[reduction],
            trained=_checked_parameters(parameters, weighting, batch.anchors),
        )
    return REDUCTIONS[reduction].of(losses)


def _checked_parameters(
    parameters: Mapping[str, Tensor] | None, weighting: PairWeighting, anchors: Tensor
) -> dict[str, Tensor]:
    """The tensors on the device and in the dtype of the anchors, or a ValueError."""
    checked = {}
    for name, value in (parameters or {}).items():
        checks.one_of("parameters", name, tuple(number_fields(weighting)))
        shapes = [(), (len(anchors),)]
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = checks.described(value)
            raise ValueError(f"parameters[{name!r}] must be a floating-point tensor, got {got}")
        if tuple(value.shape) not in shapes:
            raise ValueError(
                f"parameters[{name!r}] must be of shape () or {shapes[1]}, got {tuple(value.shape)}"
            )
        _try_once(weighting, name, value.ndim == 1)
        checked[name] = value.to(anchors.device, anchors.dtype)
    return checked


_TRIED: WeakKeyDictionary[type, set[tuple[str, bool]]] = WeakKeyDictionary()


def _try_once(weighting: PairWeighting, name: str, per_anchor: bool) -> None:
    """Try in float64 whether a field of a class can be trained, where that is not known yet."""
    if torch.compiler.is_compiling():
        return
    tried = _TRIED.setdefault(type(weighting), set())
    if (name, per_anchor) not in tried:
        check_trained(weighting, name, per_anchor)
        tried.add((name, per_anchor))


def ms_loss(
    embeddings: Tensor,
    labels: Tensor | None,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    pairs: Pairs | None = None,
    self_index: Tensor | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    reduction: ReductionName = "mean",
    chunk_size: int | None = None,
    fused: bool | None = None,
) -> Tensor:
    """The Multi-Similarity loss: mines by P (eq 11-12), weighs by S and N (eq 13-15).

    Equation (15) over the mined pairs, with λ = ``base``:

    `L = (1/N) Σ_i {(1/α) log[1 + Σ_{P_i} e^{−α(S_ik − λ)}]
    + (1/β) log[1 + Σ_{N_i} e^{β(S_ik − λ)}]}`

    Args:
        embeddings: the anchors (N, D).
        labels: their labels (N,); see :func:`gpw_loss`.
        alpha: α > 0, sharpness for positives.
        beta: β > 0, sharpness for negatives.
        base: λ, the similarity around which pairs begin to count.
        epsilon: ε ≥ 0 of the mining, a larger ε keeps more pairs; None: all pairs are weighed.
        references: and all that follows, see :func:`gpw_loss`.

    Returns:
        The loss, (), or the losses of the anchors, (N,), with reduction "none".

    Raises:
        ValueError: that names the argument at fault.

    >>> import torch
    >>> ms_loss(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), torch.tensor([0, 0, 1]))
    tensor(0.2262)
    """
    return gpw_loss(
        embeddings,
        labels,
        MultiSimilarity(alpha, beta, base),
        None if epsilon is None else MSMining(epsilon),
        references=references,
        reference_labels=reference_labels,
        indices_tuple=indices_tuple,
        pairs=pairs,
        self_index=self_index,
        similarity=similarity,
        reduction=reduction,
        chunk_size=chunk_size,
        fused=fused,
    )


def column_loss(
    columns: Sequence[Tensor],
    weighting: PairWeighting,
    mining: PairMining | None = None,
    *,
    query_ids: Tensor | None = None,
    doc_ids: Tensor | Sequence[Tensor] | None = None,
    directions: Sequence[str] = ("query_to_doc",),
    similarity: Literal["cosine", "dot"] = "cosine",
    reduction: ReductionName = "mean",
    chunk_size: int | None = None,
    fused: bool | None = None,
) -> Tensor:
    """The loss of queries against documents: those of one row are positives, all others negatives.

    Args:
        columns: queries (N, D), the document of each (N, D), and columns of further documents
            (·, D), which are negatives of all queries.
        weighting: the weight of each pair.
        mining: which candidate pairs are weighed at all; None: every one.
        query_ids: (N,) integers >= 0; rows of equal ids are positives of each other.
        doc_ids: (N,), or a tensor for each column of documents; a document with the id of the
            query's own is a positive as well, so that duplicates are no negatives.
        directions: "query_to_doc", queries are anchors and all documents references, or
            "doc_to_query", documents of the second column are anchors and queries references, or
            both, whose mean is the loss.
        similarity: and all that follows, see :func:`gpw_loss`.

    Returns:
        The loss, (), or with reduction "none" the loss of each row, (N,).

    Raises:
        ValueError: that names the argument at fault.

    >>> import torch
    >>> from pml_gpw.weightings import LiftedStructure
    >>> queries, documents = torch.eye(4), torch.eye(4).roll(1, 0)
    >>> column_loss((queries, documents), LiftedStructure())
    tensor(2.5514)
    """
    losses = []
    for comparison in column_comparisons(
        columns, checked_directions(directions), query_ids, doc_ids
    ):
        anchors, references, labels, reference_labels = comparison
        losses.append(
            gpw_loss(
                anchors,
                labels,
                weighting,
                mining,
                references=references,
                reference_labels=reference_labels,
                pairs=share_an_id if labels.ndim == 2 else None,
                self_index=torch.full((len(anchors),), -1, device=anchors.device),
                similarity=similarity,
                reduction=reduction,
                chunk_size=chunk_size,
                fused=fused,
            )
        )
    return torch.stack(losses).mean(dim=0)


def pair_weights(
    embeddings: Tensor,
    labels: Tensor | None,
    weighting: PairWeighting,
    mining: PairMining | None = None,
    *,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    pairs: Pairs | None = None,
    self_index: Tensor | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    reduction: ReductionName = "mean",
    parameters: Mapping[str, Tensor] | None = None,
) -> PairWeightTable:
    """The weight `w_ij = |∂L/∂S_ij|` (eq 2) of each pair under a loss, with its sign in the table.

    The arguments and errors are those of :func:`gpw_loss`, but for the reduction "none".
    ``mined`` of the table are the pairs that the mining keeps.

    >>> import torch
    >>> from pml_gpw.weightings import Triplet
    >>> table = pair_weights(torch.eye(3), torch.tensor([0, 0, 1]), Triplet())
    >>> table.gradient[0]
    tensor([ 0.0000, -0.3333,  0.3333])
    """
    allowed = [name for name in REDUCTIONS if name != "none"]
    checks.one_of("reduction", reduction, allowed)
    checks.one_of("similarity", similarity, SIMILARITIES)
    _check_rules(weighting, mining)
    if isinstance(pairs, WeightedRelations):
        checks.one_of("reduction of several relations", reduction, LINEAR)
    given = labels, references, reference_labels, indices_tuple, pairs, self_index, mining
    batch = _batch(embeddings, *given).detached()
    measure, whole = SIMILARITIES[similarity], slice(0, len(batch.anchors))
    with torch.inference_mode(False), torch.enable_grad(), full_precision(embeddings):
        sim = measure.matrix(batch.anchors, batch.references).detach().clone().requires_grad_()
        trained = _checked_parameters(parameters, weighting, batch.anchors)
        losses = anchor_losses(batch, weighting, mining, GivenSimilarities(sim), trained=trained)
        loss = REDUCTIONS[reduction].of(losses)
        (gradient,) = torch.autograd.grad(loss, sim)
    pos, neg = batch.pairs.masks(whole)
    mined, value = pos | neg, float(loss)
    if mining is not None:
        mined = torch.zeros_like(pos)
        several = batch.pairs.parts if isinstance(batch.pairs, WeightedPairs) else ()
        each: list[Any] = [part for part, _ in several] or [batch.pairs]
        for part in each:
            a1, p, a2, n = mined_pairs(replace(batch, pairs=part), mining, measure)
            mined[a1, p] = mined[a2, n] = True
    label_rows = batch.labels, batch.reference_labels
    return PairWeightTable(sim.detach(), gradient, pos, neg, mined, *label_rows, value)


def _check_rules(weighting: PairWeighting, mining: PairMining | None) -> None:
    checks.instance("weighting", weighting, PairWeighting)
    refuse_tensors("weighting", weighting)
    if mining is not None:
        checks.instance("mining", mining, PairMining)
        refuse_tensors("mining", mining)


@torch.no_grad()
def mine(
    embeddings: Tensor,
    labels: Tensor | None,
    mining: PairMining,
    *,
    references: Tensor | None = None,
    reference_labels: Tensor | None = None,
    indices_tuple: Sequence[Tensor] | None = None,
    pairs: Pairs | None = None,
    self_index: Tensor | None = None,
    similarity: Literal["cosine", "dot"] = "cosine",
    chunk_size: int | None = None,
) -> IndexTuple:
    """The pairs that a rule keeps, as indices (a1, p, a2, n), each once, row by row.

    Arguments and errors are those of :func:`gpw_loss`.

    >>> import torch
    >>> from pml_gpw.mining import BatchHardMining
    >>> x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> mine(x, torch.tensor([0, 0, 1]), BatchHardMining())
    (tensor([0, 1]), tensor([1, 0]), tensor([0, 1]), tensor([2, 2]))
    """
    checks.one_of("similarity", similarity, SIMILARITIES)
    if chunk_size is not None:
        checks.positive_integer("chunk_size", chunk_size)
    checks.instance("mining", mining, PairMining)
    refuse_tensors("mining", mining)
    if isinstance(pairs, WeightedRelations):
        raise ValueError("pairs must be one relation to mine from, got several")
    given = labels, references, reference_labels, indices_tuple, pairs, self_index, mining
    batch = _batch(embeddings, *given)
    with full_precision(embeddings):
        return mined_pairs(batch, mining, SIMILARITIES[similarity], Plan(chunk_size))


def _batch(
    embeddings: Tensor,
    labels: Tensor | None,
    references: Tensor | None,
    reference_labels: Tensor | None,
    indices_tuple: Sequence[Tensor] | None,
    pairs: Pairs | None,
    self_index: Tensor | None,
    mining: PairMining | None,
) -> PairBatch:
    """The batch of a call, whatever says which pairs there are."""
    if references is None and reference_labels is not None:
        raise ValueError("reference_labels must be None without references, got a tensor")
    if pairs is not None and indices_tuple is not None:
        raise ValueError("pairs must be None where an indices_tuple names them")
    given = labels, indices_tuple, references, reference_labels, self_index
    return pair_batch(embeddings, *given, (mining,), pairs, _NAMES)
