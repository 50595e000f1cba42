"""The plainest pair loss, for reducers that do the weighting."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from ...engine import PairBatch
from .losses import LossDict, PMLPairLoss


class PairSimilarityLoss(PMLPairLoss):
    """`−S_ij` for each positive pair and `+S_ij` for each negative pair.

    Equation (3) with weights of 1, `F = Σ_{N_i} S_ij − Σ_{P_i} S_ij`, term by term. Its reducer
    decides how much each pair counts; with ``PairWeightReducer(MultiSimilarity())`` after
    ``MSMiner`` it has the gradient of ``MSWeightedLoss``.

    The call is that of PML's losses, with embeddings (N, D), labels (N,), references (M, D); the
    terms are "pos_loss" and "neg_loss" with reduction types "pos_pair" and "neg_pair". Beside the
    losses each term carries the similarities of its pairs, (K,), and the distance they come from,
    for reducers that read them. A pair that a tuple names twice counts once.

    Args:
        **kwargs: as PML's ``BaseMetricLossFunction``.

    Errors: ValueError as in :class:`GPWLoss`.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import PairSimilarityLoss
    >>> PairSimilarityLoss()(torch.eye(3), torch.tensor([0, 0, 1]))  # all similarities are 0
    tensor(0.)
    """

    @override
    def loss_terms(self, batch: PairBatch) -> LossDict:
        pos, neg = batch.pairs.masks(slice(0, len(batch.anchors)))
        if not (pos.any() or neg.any()):
            self.warn_of_no_pairs("neither labels nor indices_tuple give any")
            return self.zero_losses()
        sim = self.measure().matrix(batch.anchors, batch.references)
        return {
            "pos_loss": self._term("pos_pair", sim, pos, sign=-1),
            "neg_loss": self._term("neg_pair", sim, neg, sign=+1),
        }

    def _term(self, reduction_type: str, sim: Tensor, mask: Tensor, sign: int) -> dict[str, Any]:
        pairs = mask.nonzero(as_tuple=True)
        if len(pairs[0]) == 0:
            return self.zero_loss()
        similarities = sim[pairs]
        return {
            "losses": sign * similarities,
            "indices": pairs,
            "reduction_type": reduction_type,
            "similarities": similarities.detach(),
            "distance": self.distance,
            "divisor": len(similarities),
        }

    @override
    def _sub_loss_names(self) -> list[str]:
        return ["pos_loss", "neg_loss"]
