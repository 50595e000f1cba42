"""The Multi-Similarity loss, without and with its mining."""

from dataclasses import asdict
from typing import Any

from typing_extensions import Self

from ..mining import MSMining
from ..weightings import MultiSimilarity
from .gpw_loss import GPWLoss


class MSWeightedLoss(GPWLoss):
    """The Multi-Similarity loss (S and N) of all pairs, or of those that ``MSMiner`` has chosen.

    Equation (15), with λ = ``base``:

    `L = (1/m) Σ_i {(1/α) log[1 + Σ_{P_i} e^{−α(S_ik − λ)}]
    + (1/β) log[1 + Σ_{N_i} e^{β(S_ik − λ)}]}`

    Args:
        alpha: α > 0, sharpness for positives.
        beta: β > 0, sharpness for negatives.
        base: λ, the similarity around which pairs begin to count.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call.

    Errors: ValueError for α or β ≤ 0; see :class:`GPWLoss`.

    >>> import torch
    >>> from pml_gpw.modules import MSMiner, MSWeightedLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], requires_grad=True)
    >>> labels = torch.tensor([0, 0, 1])
    >>> MSWeightedLoss()(embeddings, labels, MSMiner()(embeddings, labels))
    tensor(0.2262, grad_fn=<MeanBackward0>)
    """

    named_fields = ("alpha", "beta", "base")
    alpha: float
    beta: float
    base: float

    def __init__(
        self, alpha: float = 2, beta: float = 50, base: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(MultiSimilarity(alpha, beta, base), **kwargs)

    @classmethod
    def preset(cls, name: str, **kwargs: Any) -> Self:
        """The loss with α, β, λ of :meth:`pml_gpw.weightings.MultiSimilarity.preset`."""
        return cls(**asdict(MultiSimilarity.preset(name)), **kwargs)


class MSLoss(GPWLoss):
    """The whole Multi-Similarity loss: mines by P (eq 11-12), weighs by S and N (eq 13-15).

    The same value and gradient as :class:`MSWeightedLoss` after ``MSMiner``, in one object.

    Args:
        alpha: α > 0, sharpness for positives.
        beta: β > 0, sharpness for negatives.
        base: λ, the similarity around which pairs begin to count.
        epsilon: ε ≥ 0 of the mining; a larger ε keeps more pairs.
        **kwargs: see :class:`GPWLoss`, also for the arguments of the call.

    Errors: ValueError for α or β ≤ 0 and for ε < 0; see :class:`GPWLoss`.

    >>> import torch
    >>> from pml_gpw.modules import MSLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], requires_grad=True)
    >>> MSLoss()(embeddings, torch.tensor([0, 0, 1]))
    tensor(0.2262, grad_fn=<MeanBackward0>)
    """

    named_fields = ("alpha", "beta", "base", "epsilon")
    alpha: float
    beta: float
    base: float
    epsilon: float

    def __init__(
        self,
        alpha: float = 2,
        beta: float = 50,
        base: float = 0.5,
        epsilon: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(MultiSimilarity(alpha, beta, base), MSMining(epsilon), **kwargs)

    @classmethod
    def preset(cls, name: str, **kwargs: Any) -> Self:
        """The loss with α, β, λ of :meth:`pml_gpw.weightings.MultiSimilarity.preset`; ε is 0.1
        in all of them."""
        return cls(**asdict(MultiSimilarity.preset(name)), **kwargs)
