"""PML's self-supervised wrapper for losses of this package."""

import torch
from pytorch_metric_learning.losses import SelfSupervisedLoss as PMLSelfSupervisedLoss
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu
from torch import Tensor

from .gpw_loss import GPWLoss
from .pair_similarity_loss import PairSimilarityLoss


class SelfSupervisedLoss(PMLSelfSupervisedLoss):
    """PML's ``SelfSupervisedLoss``, which goes by class names, opened to every ``GPWLoss``.

    ``loss(embeddings, ref_emb)``, both (N, D): row i of one is the positive of row i of the
    other. Arguments and errors are those of PML's class.
    """

    def forward(self, embeddings: Tensor, ref_emb: Tensor) -> Tensor:
        """See the class."""
        if self.symmetric:
            return super().forward(embeddings, ref_emb)
        # As a tuple, because row i is a positive here even where both views are equal.
        labels = torch.arange(len(embeddings), device=embeddings.device)
        pairs = lmu.get_all_pairs_indices(labels, labels.clone())
        return self.loss(embeddings, labels, pairs, ref_emb, labels)

    @staticmethod
    def supported_losses() -> list[str]:
        """PML's names and those of ``PairSimilarityLoss``, ``GPWLoss`` and its subclasses."""
        return [
            *PMLSelfSupervisedLoss.supported_losses(),
            PairSimilarityLoss.__name__,
            *class_names(GPWLoss),
        ]


def class_names(cls: type) -> list[str]:
    """The name of a class and of all its subclasses."""
    subclasses: list[type] = cls.__subclasses__()
    return [cls.__name__, *(name for sub in subclasses for name in class_names(sub))]
