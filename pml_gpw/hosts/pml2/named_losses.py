"""The losses of the field as losses of PML, by the names of the field."""

from typing import Any, ClassVar

from pytorch_metric_learning.distances import BaseDistance, LpDistance

from ... import modules
from .losses import GPWLoss


class _OfDistance:
    """Mixin of losses that PML computes from a Euclidean distance, and this package from S.

    The distance of PML's default may be given, since it says the same: D = √(2 − 2 S).
    """

    power: ClassVar[int] = 1

    def __init__(self, *args: Any, distance: BaseDistance | None = None, **kwargs: Any) -> None:
        if distance is not None and type(distance) is LpDistance:
            given = distance.normalize_embeddings, distance.p, distance.power
            distance = None if given == (True, 2, self.power) else distance
        super().__init__(*args, distance=distance, **kwargs)  # type: ignore[call-arg]


class CircleLoss(modules.CircleLoss, GPWLoss):
    """:class:`pml_gpw.modules.CircleLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import CircleLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> CircleLoss(m=0.25, gamma=128)(embeddings, torch.tensor([0, 0, 1]))
    tensor(71.1424)
    """


class DecoupledLoss(modules.DecoupledLoss, GPWLoss):
    """:class:`pml_gpw.modules.DecoupledLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import DecoupledLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> DecoupledLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(-0.2000)
    """


class FastAPLoss(_OfDistance, modules.FastAPLoss, GPWLoss):
    """:class:`pml_gpw.modules.FastAPLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import FastAPLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> FastAPLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.2500)
    """

    power = 2


class GradedContrastiveLoss(_OfDistance, modules.GradedContrastiveLoss, GPWLoss):
    """:class:`pml_gpw.modules.GradedContrastiveLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import GradedContrastiveLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> GradedContrastiveLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.1491)
    """


class GradedSupConLoss(modules.GradedSupConLoss, GPWLoss):
    """:class:`pml_gpw.modules.GradedSupConLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import GradedSupConLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> GradedSupConLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.9554)
    """


class HardNTXentLoss(modules.HardNTXentLoss, GPWLoss):
    """:class:`pml_gpw.modules.HardNTXentLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import HardNTXentLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> HardNTXentLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.6895)
    """


class MarginLoss(_OfDistance, modules.MarginLoss, GPWLoss):
    """:class:`pml_gpw.modules.MarginLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import MarginLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> MarginLoss(learn_beta=True)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.8114, grad_fn=<DivBackward0>)
    """


class NPairLoss(modules.NPairLoss, GPWLoss):
    """:class:`pml_gpw.modules.NPairLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import NPairLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> NPairLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.6872)
    """


class NTXentLoss(modules.NTXentLoss, GPWLoss):
    """:class:`pml_gpw.modules.NTXentLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import NTXentLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> NTXentLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(1.2192)
    """


class RankedListLoss(_OfDistance, modules.RankedListLoss, GPWLoss):
    """:class:`pml_gpw.modules.RankedListLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import RankedListLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> RankedListLoss(margin=0.4, Tn=5.0)(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.3521)
    """


class SigmoidLoss(modules.SigmoidLoss, GPWLoss):
    """:class:`pml_gpw.modules.SigmoidLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import SigmoidLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> SigmoidLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(1.7721, grad_fn=<MeanBackward0>)
    """


class SupConLoss(modules.SupConLoss, GPWLoss):
    """:class:`pml_gpw.modules.SupConLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import SupConLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> SupConLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.9554)
    """


class TupletMarginLoss(modules.TupletMarginLoss, GPWLoss):
    """:class:`pml_gpw.modules.TupletMarginLoss` as a loss of PML.

    >>> import torch
    >>> from pml_gpw.hosts.pml2 import TupletMarginLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> TupletMarginLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(3.3316)
    """
