"""PML's self-supervised wrapper for losses of this package."""

import torch
from pytorch_metric_learning.losses import SelfSupervisedLoss as PMLSelfSupervisedLoss
from torch import Tensor
from typing_extensions import override

from .. import checks
from ..pml import pair_batch
from .gpw_loss import GPWLoss
from .pair_loss import PairLoss
from .pair_similarity_loss import PairSimilarityLoss


class SelfSupervisedLoss(PMLSelfSupervisedLoss):
    """PML's ``SelfSupervisedLoss``, which goes by class names, opened to every ``GPWLoss``.

    ``loss(embeddings, ref_emb)``, both (N, D): row i of one is the positive of row i of the
    other. Arguments are those of PML's class.

    Errors: ValueError for embeddings that are no matrices of one shape; those of the loss.

    >>> import torch
    >>> from pml_gpw import MSWeightedLoss
    >>> one, other = torch.rand(2, 8, 4).unbind()
    >>> SelfSupervisedLoss(MSWeightedLoss())(one, other).shape
    torch.Size([])
    """

    @override
    def forward(self, embeddings: Tensor, ref_emb: Tensor) -> Tensor:
        checks.float_matrix("embeddings", embeddings)
        checks.float_matrix("ref_emb", ref_emb)
        if ref_emb.shape != embeddings.shape:
            raise ValueError(
                f"ref_emb must have the shape {tuple(embeddings.shape)} of embeddings, "
                f"got {tuple(ref_emb.shape)}"
            )
        if self.symmetric or not isinstance(self.loss, PairLoss):
            return super().forward(embeddings, ref_emb)
        labels = torch.arange(len(embeddings), device=embeddings.device)
        # No anchor is itself among the references, even where both views are equal.
        nowhere = torch.full_like(labels, -1)
        rules = self.loss.random_rules()
        batch = pair_batch(embeddings, labels, None, ref_emb, labels, nowhere, rules)
        return self.loss(batch)

    @staticmethod
    @override
    def supported_losses() -> list[str]:
        return [
            *PMLSelfSupervisedLoss.supported_losses(),
            PairSimilarityLoss.__name__,
            *class_names(GPWLoss),
        ]


def class_names(cls: type) -> list[str]:
    """The name of a class and of all its subclasses."""
    subclasses: list[type] = cls.__subclasses__()
    return [cls.__name__, *(name for sub in subclasses for name in class_names(sub))]
