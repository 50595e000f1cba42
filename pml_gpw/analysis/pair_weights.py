"""Which pairs drive a loss: the weight of each pair of a batch.

Shapes: N anchors, M references, D dims.
"""

from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..arguments import find_self_index, one_of_both, pair_batch, random_rules_of
from ..engine import PairBatch
from ..engine.index_pairs import IndexPairs
from ..engine.label_pairs import LabelPairs
from ..engine.pairs import Pairs
from ..modules.copies import copy_of, same_random_numbers
from ..modules.gpw_loss import PairLoss
from ..modules.pair_miner import check_relation, mined_from
from ..pair_weight_table import PairWeightTable
from ..precision import full_precision
from .readers import reader_of


def pair_weights(
    loss: Any,
    embeddings: Tensor | PairBatch,
    labels: Tensor | None = None,
    miner: Any = None,
    ref_emb: Tensor | None = None,
    ref_labels: Tensor | None = None,
    indices_tuple: Any = None,
    self_index: Tensor | None = None,
    *,
    own: Tensor | None = None,
) -> PairWeightTable:
    """The weight `w_ij = |∂L/∂S_ij|` (eq 2) that a loss gives each pair.

    Autograd gives it, as the gradient with respect to the matrix of similarities. A similarity
    (``is_inverted`` in PML) is taken as it is, a distance D as S = −D. The reducer is part of the
    loss: with a mean over N anchors each weight is divided by N. Regularisers of embeddings are
    not, since they do not depend on pairs. The states of loss and miner do not change, and neither
    does that of torch's random numbers.

    Args:
        loss: a loss of this package, or a pair-, triplet- or tuple-based one of PML 2.9.
        embeddings: (N, D), or a batch of pairs in place of all that follows but ``miner``.
        labels: (N,) integers.
        miner: mines before the loss, as in training; None: the loss gets all pairs.
        ref_emb: references (M, D); None: the embeddings themselves.
        ref_labels: their labels (M,).
        indices_tuple: pairs or triplets that were mined already, in place of ``miner``.
        self_index: (N,) the place of each anchor itself among the references, −1 for none; for the
            losses of this package. ``own`` is its former name.

    Errors: ValueError for a loss that does not act through the similarities of pairs alone, such
    as one with proxies, and for bad input.

    Reference: Wang et al., CVPR 2019, section 3.

    >>> import torch
    >>> from pml_gpw import MSWeightedLoss
    >>> table = pair_weights(MSWeightedLoss(), torch.eye(4), torch.tensor([0, 0, 1, 1]))
    >>> table.weights[0]
    tensor([0.0000e+00, 1.8276e-01, 3.4720e-12, 3.4720e-12])
    """
    reader = reader_of(loss)
    checks.module_like("miner", miner)
    if miner is not None and indices_tuple is not None:
        raise ValueError("indices_tuple must be None where a miner is given")
    if labels is None and not isinstance(embeddings, PairBatch):
        raise ValueError("labels must be given, got None")
    self_index = one_of_both(self_index, own)
    if self_index is not None and not isinstance(loss, PairLoss):
        raise ValueError(
            f"self_index must be None for a loss of another package, got {type(loss).__name__}"
        )
    arguments = labels, None, ref_emb, ref_labels, self_index
    rules = (*random_rules_of(miner), *random_rules_of(loss))
    with same_random_numbers(embeddings):
        relation = getattr(loss, "pairs", None)
        check_relation(miner, relation)
        batch = pair_batch(embeddings, *arguments, rules, relation).detached()
    candidates = batch.pairs
    with torch.no_grad(), full_precision(batch.anchors):
        if miner is not None:
            with same_random_numbers(batch.anchors):
                indices_tuple = mined_from(copy_of(miner), batch)
        if indices_tuple is not None:
            batch = batch.with_indices(indices_tuple)
        elif not isinstance(batch.pairs, LabelPairs):
            indices_tuple = batch.pairs.index_tuple()
        sim = reader.measure(loss).matrix(batch.anchors, batch.references)
        value, gradient = reader.gradient(loss, sim, batch, indices_tuple)
    return _table(sim, gradient, batch, candidates, float(value))


def _table(
    sim: Tensor, gradient: Tensor, batch: PairBatch, candidates: Pairs, loss: float
) -> PairWeightTable:
    labels, reference_labels, pairs = batch.labels, batch.reference_labels, batch.pairs
    whole = slice(0, len(batch.anchors))
    if isinstance(candidates, (LabelPairs, IndexPairs)):  # else a relation says which they are
        if labels is None or reference_labels is None:
            raise ValueError("labels must be known of anchors and references, got a batch without")
        self_index = pairs.self_index
        if self_index is None:
            self_index = find_self_index(batch.anchors, batch.references)
        candidates = LabelPairs(labels, reference_labels, self_index)
    positives, negatives = candidates.masks(whole)
    mined_pos, mined_neg = pairs.masks(whole)
    mined = mined_pos | mined_neg
    return PairWeightTable(
        sim, gradient, positives, negatives, mined, labels, reference_labels, loss
    )
