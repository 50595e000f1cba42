"""PML's own wrappers of its losses and miners for several processes."""

from pytorch_metric_learning.utils.distributed import (
    DistributedLossWrapper,
    DistributedMinerWrapper,
)
from torch import nn


def wrapped(miner: nn.Module | None, loss: nn.Module) -> tuple[nn.Module | None, nn.Module]:
    """Miner and loss in PML's wrappers, which compute all of the loss in each process.

    >>> from pytorch_metric_learning.losses import NTXentLoss
    >>> miner, loss = wrapped(None, NTXentLoss())
    >>> type(loss).__name__
    'DistributedLossWrapper'
    """
    return None if miner is None else DistributedMinerWrapper(miner), DistributedLossWrapper(loss)
