"""References in several processes: what their shards have to tell each other of a block."""

from torch import Tensor


class Shards:
    """The shards as one of them sees them; here there is one, which holds all references.

    Whoever spreads references over processes overrides the three reductions, elementwise over
    what all shards give, with the same result on each, and ``start``, the place of the first
    reference of this shard among all. Ranks are then those of all references together.
    """

    start = 0

    def maximum(self, values: Tensor) -> Tensor:
        """The largest value over shards, elementwise."""
        return values

    def minimum(self, values: Tensor) -> Tensor:
        """The least value over shards, elementwise."""
        return values

    def total(self, values: Tensor) -> Tensor:
        """The sum over shards, elementwise."""
        return values


ALONE = Shards()
