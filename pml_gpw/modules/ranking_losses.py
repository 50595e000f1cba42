"""Losses of whole rankings, by the names of the field."""

from typing import Any, ClassVar

from ..reductions import ReductionName
from ..weightings import FastAP
from ..weightings.ranked_list import RankedListOfPML
from .gpw_loss import GPWLoss


class RankedListLoss(GPWLoss):
    """Ranked list loss as PML's ``RankedListLoss``, a mean over anchors.

    PML differentiates the weights of the pairs and adds 1e-5 to each; the paper's form is
    ``GPWLoss(RankedList(…))`` with :class:`~pml_gpw.weightings.RankedList`.

    Args:
        margin: m, between the distances of positives and negatives.
        Tn: T_n, how much harder negatives count more.
        imbalance: λ in [0, 1], the part of the negatives.
        alpha: α, the distance of negatives; None: 1 + m/2.
        Tp: T_p, how much harder positives count more.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import RankedListLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> RankedListLoss(margin=0.4, Tn=5.0)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.3521)
    """

    named_fields = ("margin", "tn", "imbalance", "alpha", "tp")
    margin: float
    tn: float
    imbalance: float
    alpha: float
    tp: float

    def __init__(
        self,
        margin: float,
        Tn: float,  # as in PML
        imbalance: float = 0.5,
        alpha: float | None = None,
        Tp: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(RankedListOfPML(margin, Tn, imbalance, alpha, Tp), **kwargs)


class FastAPLoss(GPWLoss):
    """FastAP loss of :class:`~pml_gpw.weightings.FastAP`, the mean over anchors with positives.

    As PML's ``FastAPLoss``, but that an index tuple names the pairs, as everywhere here; PML makes
    weights of embeddings of it.

    Args:
        num_bins: the number of bins of the histograms.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import FastAPLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> FastAPLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.2500)
    """

    named_fields = ("num_bins",)
    default_reduction: ClassVar[ReductionName] = "mean_of_anchors_with_positives"
    num_bins: int

    def __init__(self, num_bins: int = 10, **kwargs: Any) -> None:
        super().__init__(FastAP(num_bins), **kwargs)
