"""The loss of a batch that several processes hold parts of."""

from .loss import DistributedLoss

__all__ = ["DistributedLoss"]
