"""Any pair weighting as a PML loss."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pytorch_metric_learning.distances import BaseDistance, CosineSimilarity
from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor

from ..engine import matrix_losses
from ..hyperparameters import Hyperparameters
from ..inputs import checked_inputs, full_precision
from ..mining import MSMining
from ..similarity import on_scale_of, similarity_matrix
from ..weightings import PairWeighting
from .candidates import candidate_masks
from .no_pairs import WarnsOfNoPairs

LossDict = dict[str, dict[str, Any]]


class GPWLoss(WarnsOfNoPairs, Hyperparameters, BaseMetricLossFunction):
    """The loss whose gradient is a pair weighting (General Pair Weighting, eq 1-3).

    Call it as ``loss(embeddings, labels=None, indices_tuple=None, ref_emb=None,
    ref_labels=None)`` with embeddings (N, D), integer labels (N,), references (M, D) and their
    labels (M,). The N losses of the anchors go to the reducer with reduction type "element"; the
    default mean is the 1/m of eq 15. An index tuple (pairs or triplets, counted once each) names
    the candidate pairs; without one all pairs are candidates, but that of an embedding with
    itself. The loss's own ``mining``, if any, refines the candidates.

    Any PML distance works; a distance D is read as S = −D and levels such as ``base`` as −base.
    Similarities, weights and sums are computed in at least float32, also under autocast.
    ``DivisorReducer`` divides by the number of anchors that have pairs. A batch without pairs
    gives a zero loss with a zero gradient and, once per loss object, a warning. Reducers that go
    by the sign of a loss (``AvgNonZeroReducer``, ``ThresholdReducer``) suit weightings whose
    losses are ≥ 0; those of ``Constant``, ``Contrastive`` and eq 3 can be negative.

    Args:
        weighting: the weight of each pair.
        mining: which candidate pairs are weighed at all; None: every one.
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

    def __init__(
        self, weighting: PairWeighting, mining: MSMining | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.weighting = weighting
        self.mining = mining
        self.add_to_recordable_attributes(
            list_of_names=["num_pos_pairs", "num_neg_pairs"], is_stat=True
        )

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        indices_tuple: Sequence[Tensor] | None = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        inputs = checked_inputs(embeddings, labels, ref_emb, ref_labels)
        with full_precision(embeddings):
            return super().forward(
                inputs.embeddings, inputs.labels, indices_tuple, inputs.ref_emb, inputs.ref_labels
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
        pos, neg = candidate_masks(embeddings, labels, indices_tuple, ref_emb, ref_labels)
        if pos.numel() == 0:
            self.warn_of_no_pairs(f"{len(embeddings)} embeddings, {len(ref_emb)} references")
            return self.zero_losses()
        sim = similarity_matrix(self.distance, embeddings, ref_emb)
        if self.mining is not None:
            pos, neg = self.mining(sim.detach(), pos, neg)
        self._look_at(pos, neg, indices_tuple is not None)
        losses = matrix_losses(sim, pos, neg, on_scale_of(self.distance, self.weighting))
        return {
            "loss": {
                "losses": losses,
                "indices": torch.arange(len(embeddings), device=embeddings.device),
                "reduction_type": "element",
                "divisor": (pos.any(dim=1) | neg.any(dim=1)).sum(),
            }
        }

    def get_default_distance(self) -> BaseDistance:
        """Cosine similarity."""
        return CosineSimilarity()

    def _look_at(self, pos: Tensor, neg: Tensor, from_tuple: bool) -> None:
        if torch.compiler.is_compiling():
            return
        if self.collect_stats:
            self.num_pos_pairs, self.num_neg_pairs = int(pos.sum()), int(neg.sum())
        if not self._warned_of_no_pairs and not (pos.any() or neg.any()):
            source = "the indices_tuple names none" if from_tuple else "the labels give none"
            self.warn_of_no_pairs(
                source if self.mining is None else f"{source} or the mining keeps none"
            )
