"""Normalised temperature-scaled cross entropy (InfoNCE), and its form without a temperature."""

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
class NTXent(PairWeighting):
    """NT-Xent (InfoNCE): each positive pair against all negatives of the anchor.

    With τ = ``temperature``:

    `L_i = −Σ_{p ∈ P_i} log q_ip, q_ip = e^{S_ip/τ} / (e^{S_ip/τ} + Σ_{N_i} e^{S_in/τ})`

    `w⁺_ip = (1 − q_ip)/τ, w⁻_in = softmax_{N_i}(S/τ)_n Σ_{p ∈ P_i} w⁺_ip`

    The negatives share the sum of the positive weights. Uses N and P, and for a positive pair its
    negatives: similarities that all shift together change nothing.

    The mean over the positive pairs of the batch, as the papers and PML take it, is the reduction
    "mean_of_positive_pairs". Errors: ValueError for τ ≤ 0.

    Source: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018;
    Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> NTXent(temperature=0.5).weights(torch.tensor([[0.5, 0.5, 0.5]]), positives, negatives)
    PairWeights(pos=tensor([[1.3333, 0.0000, 0.0000]]), neg=tensor([[0.0000, 0.6667, 0.6667]]))
    """

    temperature: Positive = 0.07
    uses: ClassVar[frozenset[str]] = frozenset("NP")

    def __post_init__(self) -> None:
        checks.positive("temperature", self.temperature)
        checks.floats(self, "temperature")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        hardness, shares = neg.logsumexp(neg.sim / neg.expand(self.temperature))
        excess = pos.expand(hardness) - pos.sim / pos.expand(self.temperature)
        pos_weights = torch.sigmoid(excess) / pos.expand(self.temperature)
        return pos.sum(softplus(excess)), PairWeights(
            pos_weights, shares * neg.expand(pos.sum(pos_weights))
        )


@dataclass(frozen=True)
class NPair(PairWeighting):
    """N-pair loss: NT-Xent without a temperature, of dot products.

    `L_i = Σ_{p ∈ P_i} log[1 + Σ_{N_i} e^{S_in − S_ip}]`

    The paper takes inner products of embeddings that are not normalised (``similarity="dot"``) and
    one positive for each anchor. The weights are those of :class:`NTXent` at temperature 1.

    Source: Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, NIPS 2016.

    >>> import torch
    >>> positives, negatives = torch.eye(3).bool()[:1], ~torch.eye(3).bool()[:1]
    >>> NPair().losses(torch.tensor([[3.0, 3.0, 3.0]]), positives, negatives)
    tensor([1.0986])
    """

    uses: ClassVar[frozenset[str]] = frozenset("NP")

    @override
    def evaluate(self, pos: Rows, neg: Rows) -> tuple[Tensor, PairWeights]:
        return NTXent(temperature=1.0).evaluate(pos, neg)
