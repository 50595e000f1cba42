"""The means of the field as PML reducers."""

from typing import Any

from pytorch_metric_learning.reducers import BaseReducer
from torch import Tensor
from typing_extensions import override

from ... import checks
from ...engine import AnchorLosses
from ...reductions import REDUCTIONS


class AnchorReducer(BaseReducer):
    """Reduce the losses of the anchors of a loss of this package by one of the field's means.

    PML's own ``MeanReducer``, ``SumReducer``, ``DivisorReducer`` (anchors with pairs) and
    ``AvgNonZeroReducer`` do the same for the means that they are. Below all of them gradients are
    formed in forward. With "mean_of_active_terms" the statistics of the loss, ``num_pos_pairs`` and
    ``num_neg_pairs``, are sums of weights.

    Args:
        reduction: as in :func:`pml_gpw.functional.gpw_loss`.
        **kwargs: as PML's ``BaseReducer``.

    Errors: ValueError for another name, and for losses that are not of anchors or come without the
    numbers of their pairs.

    >>> import torch
    >>> from pml_gpw.losses import GPWLoss
    >>> from pml_gpw.weightings import LiftedStructure
    >>> loss = GPWLoss(LiftedStructure(), reducer=AnchorReducer("mean_of_positive_pairs"))
    >>> loss(torch.eye(4), torch.tensor([0, 0, 0, 1]))
    tensor(0.8466)
    """

    def __init__(self, reduction: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.one_of("reduction", reduction, REDUCTIONS)
        self.reduction = reduction
        self.add_to_recordable_attributes(name="reduction", is_stat=False)

    @override
    def unpack_loss_info(self, loss_info: dict[str, Any]) -> tuple[Any, ...]:
        losses, indices, kind, _ = super().unpack_loss_info(loss_info)
        names = ("num_pos", "num_neg") if kind == "element" else ()
        return losses, indices, kind, {name: loss_info.get(name) for name in names}

    @override
    def get_reduction_func(self, reduction_type: str) -> Any:
        if reduction_type not in ("element", "already_reduced"):
            raise ValueError(
                f"loss must give a loss for each anchor for AnchorReducer, got {reduction_type!r}"
            )
        return super().get_reduction_func(reduction_type)

    @override
    def element_reduction(
        self,
        losses: Tensor,
        loss_indices: Tensor,
        embeddings: Tensor,
        labels: Tensor,
        num_pos: Tensor | None = None,
        num_neg: Tensor | None = None,
    ) -> Tensor:
        if num_pos is None or num_neg is None:
            raise ValueError(
                "loss must give num_pos and num_neg, the numbers of pairs of each anchor, for "
                "AnchorReducer, as losses of pml_gpw do, got neither"
            )
        return REDUCTIONS[self.reduction].of(AnchorLosses(losses, num_pos, num_neg))
