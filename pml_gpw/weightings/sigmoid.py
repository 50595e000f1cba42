"""Sigmoid loss."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from .. import checks
from .base import PairWeighting, PairWeights
from .pair_rows import Rows
from .rules import Positive


@dataclass(frozen=True)
class Sigmoid(PairWeighting):
    """Sigmoid loss (SigLIP): each pair by itself is classified as positive or negative.

    With t = ``scale``, b = ``bias`` and the sigmoid σ:

    `L_i = Σ_{P_i} softplus(−(t S_ip + b)) + Σ_{N_i} softplus(t S_in + b)`

    `w⁺_ip = t σ(−(t S_ip + b)), w⁻_in = t σ(t S_in + b)`

    Uses S.

    The paper trains t, by its logarithm, and b: ``trainable=("scale", "bias")``.
    Errors: ValueError for t ≤ 0 and b that is not a finite number.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023, section 3.2.

    >>> import torch
    >>> positives, negatives = torch.eye(2).bool()[:1], ~torch.eye(2).bool()[:1]
    >>> Sigmoid(scale=2.0, bias=-1.0).weights(torch.tensor([[0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[1., 0.]]), neg=tensor([[0., 1.]]))
    """

    scale: Positive = 10.0
    bias: float = -10.0
    uses: ClassVar[frozenset[str]] = frozenset("S")

    def __post_init__(self) -> None:
        checks.positive("scale", self.scale)
        checks.finite("bias", self.bias)
        checks.floats(self, "scale", "bias")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        pos_scale, neg_scale = pos.expand(self.scale), neg.expand(self.scale)
        pos_logits = -(pos_scale * pos.sim + pos.expand(self.bias))
        neg_logits = neg_scale * neg.sim + neg.expand(self.bias)
        return pos.sum(softplus(pos_logits)) + neg.sum(softplus(neg_logits)), PairWeights(
            pos_scale * torch.sigmoid(pos_logits), neg_scale * torch.sigmoid(neg_logits)
        )
