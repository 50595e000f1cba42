"""The dense autograd twin, slow and plain: the oracle that every fast path is held to."""

from torch import Tensor

from ..mining import PairMining
from ..weightings import PairWeighting


def reference_losses(
    sim: Tensor,
    pos: Tensor,
    neg: Tensor,
    weighting: PairWeighting,
    mining: PairMining | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """Per-anchor losses (N,) with their gradient left to autograd.

    Shapes: ``sim`` (N, M) similarities, ``pos`` and ``neg`` (N, M) masks of candidate pairs,
    ``key`` () int64 where the mining is random.

    >>> import torch
    >>> from pml_gpw.weightings import Constant
    >>> pos, neg = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    >>> reference_losses(torch.tensor([[0.75, 0.5]]), pos, neg, Constant())
    tensor([-0.2500])
    """
    if mining is not None:
        pos, neg = mining(sim.detach(), pos, neg, key)
    return weighting.losses(sim, pos, neg)
