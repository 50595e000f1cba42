"""The ablation grid: every subset of the similarities S, N and P."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..weightings import (
    BinomialDeviance,
    Constant,
    LiftedStructure,
    MultiSimilarity,
    PairWeighting,
)
from .gpw_loss import GPWLoss
from .ms_miner import MSMiner

VARIANTS = ("", "S", "N", "P", "SN", "SP", "NP", "SNP")
"""All eight subsets, in the letters that ``ms_variant`` takes."""

SHARED = ("similarity", "distance", "collect_stats", "pairs")
"""Options of a loss that its miner has as well."""

Miner = TypeVar("Miner")
Loss = TypeVar("Loss")


def ms_variant(
    similarities: str,
    *,
    alpha: float = 2,
    beta: float = 50,
    base: float = 0.5,
    epsilon: float = 0.1,
    **kwargs: Any,
) -> tuple[MSMiner | None, GPWLoss]:
    """Miner and loss that use the given similarities only; without P the miner is None.

    Weighting: {} every pair 1; {S} binomial deviance (eq 9-10); {N} lifted structure (eq 6-8,
    temperatures α and β, no hinge); {S, N} Multi-Similarity (eq 13-15). P adds the mining of
    eq 11-12. Each variant takes those of α, β, λ and ε that occur in its equations.

    Args:
        similarities: letters out of "S", "N", "P" in any order; "" for none.
        alpha: α > 0, sharpness for positives.
        beta: β > 0, sharpness for negatives.
        base: λ, the similarity around which pairs begin to count.
        epsilon: ε ≥ 0 of the mining.
        **kwargs: see :class:`GPWLoss`; a ``similarity`` or ``distance`` goes to the miner as well.

    Errors: ValueError for other letters, α or β ≤ 0 and ε < 0.

    >>> from pml_gpw.modules import ms_variant
    >>> ms_variant("SN")
    (None, GPWLoss(MultiSimilarity(alpha=2.0, beta=50.0, base=0.5), None))
    """
    return variant_of(MSMiner, GPWLoss, similarities, (alpha, beta, base, epsilon), kwargs)


def variant_of(
    miner: Callable[..., Miner],
    loss: Callable[..., Loss],
    similarities: str,
    parameters: tuple[float, float, float, float],
    kwargs: Mapping[str, Any],
) -> tuple[Miner | None, Loss]:
    """Miner and loss of a variant, of some classes; ``parameters`` are α, β, λ and ε."""
    if not isinstance(similarities, str) or set(similarities) - set("SNP"):
        raise ValueError(
            f'similarities must consist of the letters "S", "N", "P", got {similarities!r}'
        )
    alpha, beta, base, epsilon = parameters
    weightings: dict[frozenset[str], PairWeighting] = {
        frozenset(): Constant(),
        frozenset("S"): BinomialDeviance(alpha, beta, base),
        frozenset("N"): LiftedStructure(alpha, beta, margin=None),
        frozenset("SN"): MultiSimilarity(alpha, beta, base),
    }
    shared = {key: kwargs[key] for key in SHARED if key in kwargs}
    mines = miner(epsilon, **shared)
    made = loss(weightings[frozenset(similarities) - {"P"}], **kwargs)
    return (mines if "P" in similarities else None), made
