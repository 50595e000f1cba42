"""The similarity below which no negative of an anchor matters, as its mining promises.

Shapes: N anchors.
"""

import torch
from torch import Tensor

from ...checks import described
from ...mining import PairMining


def negative_threshold(hardest_pos: Tensor, mining: PairMining) -> Tensor | None:
    """Below this similarity (N,) no negative is mined, with room for rounding; None: unknown.

    ``hardest_pos`` (N,): the anchor's smallest similarity to a positive, inf where it has none.
    """
    bound = mining.negative_lower_bound(hardest_pos)
    if bound is None:
        return None
    if not isinstance(bound, Tensor) or bound.shape != hardest_pos.shape:
        raise ValueError(
            f"negative_lower_bound of {type(mining).__name__} must return None or a tensor of "
            f"{tuple(hardest_pos.shape)}, got {described(bound)}"
        )
    bound = torch.where(bound.isnan(), -torch.inf, bound)  # inf − inf says nothing
    size = 1 + bound.abs() + hardest_pos.abs().nan_to_num(posinf=0.0)
    return torch.where(bound.isfinite(), bound - 1e-5 * size, bound)
