"""Any pair weighting as a PML loss."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import checks
from ..engine import Pairing, default_chunk_size, matrix_losses, streamed_losses
from ..hyperparameters import Hyperparameters
from ..mining import MSMining
from ..similarity import is_inner_product, normalized, on_scale_of, similarity_matrix
from ..weightings import PairWeighting
from .candidates import Given
from .pair_loss import LossDict, PairLoss

AnchorLosses = tuple[Tensor, Tensor, Tensor]
"""Losses (N,), and the numbers of positive and of negative pairs weighed, (N,) each."""


class GPWLoss(Hyperparameters, PairLoss):
    """The loss whose gradient is a pair weighting (General Pair Weighting, eq 1-3).

    Call it as ``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None, ref_labels=None,
    own=None)`` with embeddings (N, D), integer labels (N,), references (M, D) and their labels
    (M,). ``own`` (N,) says at which place among the references each anchor has a copy of itself
    (−1: nowhere), as in a memory; their pair is left out. The N losses of the anchors go to the
    reducer with reduction type "element"; the default mean is the 1/m of eq 15. An index tuple
    (pairs or triplets, counted once each) names the candidate pairs; without one all pairs are
    candidates, but that of an embedding with itself. The loss's own ``mining``, if any, refines
    the candidates.

    Any PML distance works; a distance D is read as S = −D and levels such as ``base`` as −base.
    With cosine or dot product similarity the loss streams: it walks the anchors in chunks and
    never holds the N×M matrix. The value and gradient are the same.

    Similarities, weights and sums are computed in at least float32, also under autocast.
    ``DivisorReducer`` divides by the number of anchors that have pairs. A batch without pairs
    gives a zero loss with a zero gradient and, once per loss object, a warning. Reducers that go
    by the sign of a loss (``AvgNonZeroReducer``, ``ThresholdReducer``) suit weightings whose
    losses are ≥ 0; those of ``Constant``, ``Contrastive`` and eq 3 can be negative.

    Args:
        weighting: the weight of each pair.
        mining: which candidate pairs are weighed at all; None: every one.
        chunk_size: anchors per chunk when streaming; None: as many as suit the cache.
        **kwargs: as PML's ``BaseMetricLossFunction``: ``distance`` (default cosine), ``reducer``,
            ``embedding_regularizer``, ``embedding_reg_weight``, ``collect_stats``.

    Errors: ValueError for NaN or Inf, shapes that do not match, non-integer labels, indices out
    of range, and without labels and tuple.

    Reference: Wang et al., CVPR 2019, section 3.
    """

    held: ClassVar[dict[str, tuple[type, ...]]] = {
        "weighting": (PairWeighting,),
        "mining": (MSMining, type(None)),
    }
    # For the time of a call: how the losses of all anchors come about where processes share them.
    _divide: Callable[[Callable[[Given], AnchorLosses], Given], AnchorLosses] | None = None

    def __init__(
        self,
        weighting: PairWeighting,
        mining: MSMining | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        if chunk_size is not None:
            checks.positive_integer("chunk_size", chunk_size)
        super().__init__(**kwargs)
        self.chunk_size = chunk_size
        self.weighting = weighting
        self.mining = mining
        self.add_to_recordable_attributes(
            list_of_names=["num_pos_pairs", "num_neg_pairs"], is_stat=True
        )

    def compute_loss(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Sequence[Tensor] | None,
        ref_emb: Tensor,
        ref_labels: Tensor | None,
    ) -> LossDict:
        """See PML's ``BaseMetricLossFunction``."""
        if len(embeddings) == 0 or len(ref_emb) == 0:
            self.warn_of_no_pairs(f"{len(embeddings)} embeddings, {len(ref_emb)} references")
            return self.zero_losses()
        given = Given(embeddings, labels, indices_tuple, ref_emb, ref_labels, self._own)
        if self._divide is None:
            losses, num_pos, num_neg = self._anchor_losses(given)
        else:
            losses, num_pos, num_neg = self._divide(self._anchor_losses, given)
        self._look_at(num_pos, num_neg, indices_tuple is not None)
        return {
            "loss": {
                "losses": losses,
                "indices": torch.arange(len(embeddings), device=embeddings.device),
                "reduction_type": "element",
                "divisor": ((num_pos > 0) | (num_neg > 0)).sum(),
            }
        }

    def _anchor_losses(self, given: Given) -> AnchorLosses:
        # Which pairs are kept is known only from values, which a traced graph cannot follow.
        if is_inner_product(self.distance) and not torch.compiler.is_compiling():
            chunk_size = self.chunk_size or default_chunk_size(given.ref_emb)
            pairing = Pairing(given.candidates(), self.mining, chunk_size)
            x, y = normalized(self.distance, given.embeddings, given.ref_emb)
            return streamed_losses(x, y, pairing, self.weighting)
        pos, neg = given.masks()
        sim = similarity_matrix(self.distance, given.embeddings, given.ref_emb)
        if self.mining is not None:
            pos, neg = self.mining(sim.detach(), pos, neg)
        losses = matrix_losses(sim, pos, neg, on_scale_of(self.distance, self.weighting))
        return losses, pos.sum(dim=1), neg.sum(dim=1)

    def _look_at(self, num_pos: Tensor, num_neg: Tensor, from_tuple: bool) -> None:
        if torch.compiler.is_compiling():
            return
        if self.collect_stats:
            self.num_pos_pairs, self.num_neg_pairs = int(num_pos.sum()), int(num_neg.sum())
        if not self._warned_of_no_pairs and not (num_pos.any() or num_neg.any()):
            source = "the indices_tuple names none" if from_tuple else "the labels give none"
            self.warn_of_no_pairs(
                source if self.mining is None else f"{source} or the mining keeps none"
            )
