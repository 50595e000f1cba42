"""Losses of exponentials or sigmoids of similarities, by the names of the field."""

from typing import Any, ClassVar

from ..reductions import ReductionName
from ..weightings import Decoupled, GradedSupCon, HardNTXent, NPair, NTXent, Sigmoid, SupCon
from .gpw_loss import GPWLoss
from .trained_fields import Trainable


class NTXentLoss(GPWLoss):
    """NT-Xent (InfoNCE) of :class:`~pml_gpw.weightings.NTXent`, a mean over positive pairs.

    `L = Σ_i L_i / Σ_i |P_i|`, the mean over positive pairs, as in PML's ``NTXentLoss``.

    Args:
        temperature: τ > 0.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import NTXentLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], requires_grad=True)
    >>> NTXentLoss(temperature=0.5)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.6895, grad_fn=<DivBackward0>)
    """

    named_fields = ("temperature",)
    default_reduction: ClassVar[ReductionName] = "mean_of_positive_pairs"
    temperature: float

    def __init__(self, temperature: float = 0.07, **kwargs: Any) -> None:
        super().__init__(NTXent(temperature), **kwargs)


class NPairLoss(GPWLoss):
    """N-pair loss of :class:`~pml_gpw.weightings.NPair`: dot products, a mean over positive pairs.

    All negatives of the batch count. PML's ``NPairsLoss`` picks one pair a class first, and gives
    other values.

    Args:
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import NPairLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> NPairLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.6872)
    """

    default_reduction: ClassVar[ReductionName] = "mean_of_positive_pairs"
    default_similarity: ClassVar[str] = "dot"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NPair(), **kwargs)


class DecoupledLoss(GPWLoss):
    """Decoupled contrastive loss of :class:`~pml_gpw.weightings.Decoupled`, over positive pairs.

    Args:
        temperature: τ > 0.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import DecoupledLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> DecoupledLoss(temperature=0.5)(embeddings, torch.tensor([0, 0, 1]))
    tensor(-0.0400)
    """

    named_fields = ("temperature",)
    default_reduction: ClassVar[ReductionName] = "mean_of_positive_pairs"
    temperature: float

    def __init__(self, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(Decoupled(temperature), **kwargs)


class HardNTXentLoss(GPWLoss):
    """NT-Xent with re-weighted negatives, :class:`~pml_gpw.weightings.HardNTXent`.

    A mean over positive pairs.

    Args:
        temperature: τ > 0.
        beta: β ≥ 0, how much harder negatives count more.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import HardNTXentLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> HardNTXentLoss()(embeddings, torch.tensor([0, 0, 1]))  # one negative has no harder one
    tensor(0.6895)
    """

    named_fields = ("temperature", "beta")
    default_reduction: ClassVar[ReductionName] = "mean_of_positive_pairs"
    temperature: float
    beta: float

    def __init__(self, temperature: float = 0.5, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(HardNTXent(temperature, beta), **kwargs)


class SupConLoss(GPWLoss):
    """Supervised contrastive loss of :class:`~pml_gpw.weightings.SupCon`.

    The mean over anchors whose loss is > 0, as PML's ``SupConLoss``; the paper's mean is
    ``reduction="mean_of_anchors_with_positives"``.

    Args:
        temperature: τ > 0.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import SupConLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> SupConLoss(temperature=0.5)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.6895)
    """

    named_fields = ("temperature",)
    default_reduction: ClassVar[ReductionName] = "mean_of_nonzero"
    temperature: float

    def __init__(self, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(SupCon(temperature), **kwargs)


class GradedSupConLoss(GPWLoss):
    """Supervised contrastive loss of graded pairs, :class:`~pml_gpw.weightings.GradedSupCon`.

    The mean over anchors with positives.

    Args:
        temperature: τ > 0.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors; ``pairs=``
            gives the relevance.

    >>> import torch
    >>> from pml_gpw.modules import GradedSupConLoss
    >>> from pml_gpw.relations import jaccard
    >>> tags = torch.tensor([[1, 0], [1, 1], [0, 1]])
    >>> GradedSupConLoss(pairs=jaccard)(torch.eye(3), tags)
    tensor(0.6931)
    """

    named_fields = ("temperature",)
    default_reduction: ClassVar[ReductionName] = "mean_of_anchors_with_positives"
    temperature: float

    def __init__(self, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(GradedSupCon(temperature), **kwargs)


class SigmoidLoss(GPWLoss):
    """Sigmoid loss (SigLIP) of :class:`~pml_gpw.weightings.Sigmoid`, a mean over anchors.

    Scale, by its logarithm, and bias are trained unless ``trainable`` says otherwise: they are
    parameters; give them to the optimizer.

    Args:
        scale: t > 0, or where it starts.
        bias: b, or where it starts.
        trainable: the fields that are trained.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call and errors.

    >>> import torch
    >>> from pml_gpw.modules import SigmoidLoss
    >>> loss = SigmoidLoss()
    >>> [name for name, _ in loss.named_parameters()]
    ['log_scale', 'bias']
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> loss(embeddings, torch.tensor([0, 0, 1]))
    tensor(1.7721, grad_fn=<MeanBackward0>)
    """

    named_fields = ("scale", "bias")
    scale: float
    bias: float

    def __init__(
        self,
        scale: float = 10.0,
        bias: float = -10.0,
        trainable: Trainable = ("scale", "bias"),
        **kwargs: Any,
    ) -> None:
        super().__init__(Sigmoid(scale, bias), trainable=trainable, **kwargs)
