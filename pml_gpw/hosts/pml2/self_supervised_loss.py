"""PML's self-supervised wrapper for losses of this package."""

from typing import Any

import torch
from pytorch_metric_learning.losses import SelfSupervisedLoss as PMLSelfSupervisedLoss
from typing_extensions import override

from ... import modules
from ...modules.self_supervised_loss import refuse_relation
from .cross_batch_memory import names_of_losses


class SelfSupervisedLoss(modules.SelfSupervisedLoss, PMLSelfSupervisedLoss):
    """PML's ``SelfSupervisedLoss``, which knows losses by their names, for every ``GPWLoss``.

    ``loss(embeddings, ref_emb)``, both (N, D): row i of one is the positive of row i of the
    other. Arguments and errors are those of PML's class and of the plain one.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import MSWeightedLoss, SelfSupervisedLoss
    >>> one, other = torch.rand(2, 8, 4).unbind()
    >>> SelfSupervisedLoss(MSWeightedLoss())(one, other).shape
    torch.Size([])
    """

    def __init__(self, loss: torch.nn.Module, symmetric: bool = True, **kwargs: Any) -> None:
        refuse_relation(loss)
        PMLSelfSupervisedLoss.__init__(self, loss, symmetric, **kwargs)

    @staticmethod
    @override
    def supported_losses() -> list[str]:
        return [*PMLSelfSupervisedLoss.supported_losses(), *names_of_losses()]
