"""Losses of pairs on the wrong side of a margin, by the names of the field."""

from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from .. import checks
from ..engine import AnchorLosses, PairBatch
from ..reductions import ReductionName
from ..weightings import Circle, GradedContrastive, Margin, TupletMargin
from .gpw_loss import GPWLoss


class CircleLoss(GPWLoss):
    """Circle loss of :class:`~pml_gpw.weightings.Circle`.

    The mean over anchors whose loss is > 0, as PML's ``CircleLoss``.

    Args:
        m: m, the relaxation of the margin.
        gamma: γ > 0, the scale.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import CircleLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> CircleLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(28.8648)
    """

    named_fields = ("m", "gamma")
    default_reduction: ClassVar[ReductionName] = "mean_of_nonzero"
    m: float
    gamma: float

    def __init__(self, m: float = 0.4, gamma: float = 80, **kwargs: Any) -> None:
        super().__init__(Circle(m, gamma), **kwargs)


class TupletMarginLoss(GPWLoss):
    """Tuplet margin loss of :class:`~pml_gpw.weightings.TupletMargin`, a mean over positive pairs.

    As PML's ``TupletMarginLoss``, whose attribute ``margin`` is in radians; here it stays in
    degrees.

    Args:
        margin: β, in degrees.
        scale: σ > 0.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import TupletMarginLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> TupletMarginLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(3.3316)
    """

    named_fields = ("margin", "scale")
    default_reduction: ClassVar[ReductionName] = "mean_of_positive_pairs"
    margin: float
    scale: float

    def __init__(self, margin: float = 5.73, scale: float = 64, **kwargs: Any) -> None:
        super().__init__(TupletMargin(margin, scale), **kwargs)


class MarginLoss(GPWLoss):
    """Margin loss of :class:`~pml_gpw.weightings.Margin`, the mean over active hinges.

    As PML's ``MarginLoss``: a pair counts once for each triplet that it is in, and the sum is
    divided by the number of hinges > 0.

    Args:
        margin: m.
        nu: ν; with one learned β, the loss gets the term ν β.
        beta: β, a Euclidean distance of normalised embeddings, or where it starts.
        triplets_per_anchor: "all"; nothing is sampled here.
        learn_beta: True: β is a parameter; give it to the optimizer.
        num_classes: with ``learn_beta`` one β for each label in [0, num_classes).
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    Errors: ValueError for another ``triplets_per_anchor``, and for ν beside a β for each class.

    >>> import torch
    >>> from pml_gpw.modules import MarginLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> MarginLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.8114)
    """

    named_fields = ("margin", "beta")
    default_reduction: ClassVar[ReductionName] = "mean_of_active_terms"
    margin: float
    beta: float

    def __init__(
        self,
        margin: float = 0.2,
        nu: float = 0,
        beta: float = 1.2,
        triplets_per_anchor: str = "all",
        learn_beta: bool = False,
        num_classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        checks.one_of("triplets_per_anchor", triplets_per_anchor, ("all",))
        checks.finite("nu", nu)
        if learn_beta:
            if nu and num_classes:
                raise ValueError(f"nu must be 0 beside num_classes={num_classes}, got {nu!r}")
            kwargs["trainable"] = {"beta": num_classes}
        super().__init__(Margin(margin, beta, per_triplet=True), **kwargs)
        self.nu = nu

    @override
    def reduce(self, losses: AnchorLosses, batch: PairBatch) -> Tensor:
        loss = super().reduce(losses, batch)
        beta = self._parameters.get("beta")
        return loss + self.nu * beta if self.nu and beta is not None else loss


class GradedContrastiveLoss(GPWLoss):
    """Generalised contrastive loss of :class:`~pml_gpw.weightings.GradedContrastive`.

    A mean over anchors.

    Args:
        margin: τ, a Euclidean distance of normalised embeddings.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors; ``pairs=``
            gives the relevance.

    >>> import torch
    >>> from pml_gpw.modules import GradedContrastiveLoss
    >>> from pml_gpw.relations import jaccard
    >>> tags = torch.tensor([[1, 0], [1, 1], [0, 1]])
    >>> GradedContrastiveLoss(pairs=jaccard)(torch.eye(3), tags)
    tensor(0.6667)
    """

    named_fields = ("margin",)
    margin: float

    def __init__(self, margin: float = 0.5, **kwargs: Any) -> None:
        super().__init__(GradedContrastive(margin), **kwargs)
