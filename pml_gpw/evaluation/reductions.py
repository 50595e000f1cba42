"""Reductions over the shards of the references, for references that are spread over processes.

Shapes: C queries of a block, L columns of a shard.
"""

from torch import Tensor


class Reductions:
    """Reductions over all shards of the references.

    This class serves the case of one shard, which holds all references: a reduction then returns
    its argument. A subclass for several shards overrides the methods, so that they return the same
    result to every shard, and ``reference_offset``, the index of the first reference of this shard
    among all references. Ranks are then those among all references.
    """

    reference_offset: int = 0
    num_shards: int = 1

    def maximum(self, values: Tensor) -> Tensor:
        """The elementwise maximum over shards."""
        return values

    def minimum(self, values: Tensor) -> Tensor:
        """The elementwise minimum over shards."""
        return values

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum over shards."""
        return values

    def concatenate(self, values: Tensor) -> Tensor:
        """The columns (C, L) of all shards side by side; all have the same shape."""
        return values


SINGLE_SHARD = Reductions()
