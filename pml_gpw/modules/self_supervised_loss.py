"""The loss of two views of the same items, which need no labels."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from .. import checks
from ..arguments import pair_batch
from .gpw_loss import PairLoss
from .pair_miner import check_loss


def refuse_relation(loss: nn.Module) -> None:
    """Raise a ValueError for a loss with a relation of labels, of which views have none."""
    check_loss(loss)
    if getattr(loss, "pairs", None) is not None:
        raise ValueError(f"loss must be one without a relation of labels, got {loss!r}")


class SelfSupervisedLoss(nn.Module):
    """The loss of two views of the same items: row i of one is the positive of row i of the other.

    Call it as ``loss(embeddings, ref_emb)``, both (N, D). Both views form one batch, in which both
    rows i have the label i; without ``symmetric``, the anchors are the first view alone, and the
    references the second.

    Args:
        loss: a loss that uses labels, of this package or with the same call.
        symmetric: True: both views are anchors, and each is compared with both.

    Errors: ValueError for embeddings that are no matrices of one shape; those of the loss.

    >>> import torch
    >>> from pml_gpw.modules import MSWeightedLoss, SelfSupervisedLoss
    >>> one, other = torch.rand(2, 8, 4).unbind()
    >>> SelfSupervisedLoss(MSWeightedLoss())(one, other).shape
    torch.Size([])
    """

    loss: nn.Module
    symmetric: bool

    def __init__(self, loss: nn.Module, symmetric: bool = True) -> None:
        super().__init__()
        checks.instance("symmetric", symmetric, bool)
        refuse_relation(loss)
        self.loss = loss
        self.symmetric = symmetric

    @override
    def forward(self, embeddings: Tensor, ref_emb: Tensor) -> Tensor:
        checks.float_matrix("embeddings", embeddings)
        checks.float_matrix("ref_emb", ref_emb)
        if ref_emb.shape != embeddings.shape:
            raise ValueError(
                f"ref_emb must have the shape {tuple(embeddings.shape)} of embeddings, "
                f"got {tuple(ref_emb.shape)}"
            )
        labels = torch.arange(len(embeddings), device=embeddings.device)
        if self.symmetric:
            loss: Tensor = self.loss(torch.cat([embeddings, ref_emb]), torch.cat([labels, labels]))
            return loss
        if not isinstance(self.loss, PairLoss):
            return self.loss(embeddings, labels, ref_emb=ref_emb, ref_labels=labels.clone())
        # No anchor is itself among the references, even where both views are equal.
        nowhere = torch.full_like(labels, -1)
        rules = self.loss.random_rules()
        batch = pair_batch(embeddings, labels, None, ref_emb, labels, nowhere, rules)
        return self.loss(batch)
