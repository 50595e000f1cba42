"""The dense autograd twin, slow and plain: the oracle that every fast path is held to."""

from torch import Tensor

from ..mining import MSMining
from ..weightings import PairWeighting


def reference_losses(
    sim: Tensor, pos: Tensor, neg: Tensor, weighting: PairWeighting, mining: MSMining | None = None
) -> Tensor:
    """Per-anchor losses (N,) with their gradient left to autograd.

    Shapes: ``sim`` (N, M) similarities, ``pos`` and ``neg`` (N, M) masks of candidate pairs.
    """
    if mining is not None:
        pos, neg = mining(sim.detach(), pos, neg)
    return weighting.losses(sim, pos, neg)
