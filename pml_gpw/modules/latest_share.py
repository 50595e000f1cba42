"""The share of the anchors of the latest call that had pairs, as live projects log it.

Shapes: N anchors.
"""

import torch
from torch import Tensor


class LatestShare:
    """Mixin of losses and miners that can say it of their latest call.

    >>> from pml_gpw.modules import MSMiner
    >>> miner = MSMiner()
    >>> _ = miner(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]), torch.tensor([0, 0, 1]))
    >>> miner.share_of_anchors_with_pairs
    tensor(0.3333)
    """

    _numbers_of_pairs: tuple[Tensor, ...] | None = None
    """Of each anchor, (N,) of any kind: set by each call but inside a user's ``torch.compile``."""

    @property
    def share_of_anchors_with_pairs(self) -> Tensor:
        """The share of the anchors of the latest call that had pairs, (); NaN before any.

        1 − it is the "batch accuracy" of place recognition. It stays on the device: nothing waits.
        """
        if self._numbers_of_pairs is None:
            return torch.tensor(torch.nan)
        return torch.stack(self._numbers_of_pairs).any(dim=0).float().mean()


def anchors_of(mined: tuple[Tensor, ...], n: int) -> Tensor:
    """Which of N anchors are in an index tuple of pairs or triplets, (N,) bool.

    >>> anchors_of((torch.tensor([0, 2]), torch.tensor([2, 0]), torch.tensor([1, 1])), 4)
    tensor([ True, False,  True, False])
    """
    found = torch.zeros(n, dtype=torch.bool, device=mined[0].device)
    for anchors in mined[:: 2 if len(mined) == 4 else 3]:
        found.index_fill_(0, anchors, True)
    return found
