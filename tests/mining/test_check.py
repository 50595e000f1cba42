"""Each broken promise is named; that the rules of the package pass is in their contract."""

from dataclasses import dataclass, field

import pytest
import torch

from pml_gpw.mining import MSMining, PairMining, check_mining


@dataclass(frozen=True)
class Mine(PairMining):
    rule: object = field(default=None, repr=False)

    def select(self, pos, neg):
        return self.rule(pos, neg)


@dataclass(frozen=True)
class TooHigh(MSMining):
    """Promises more than it keeps."""

    def negative_lower_bound(self, hardest_pos):
        return hardest_pos + 0.2


def every(rows):
    return torch.ones_like(rows.sim, dtype=torch.bool)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Mine(lambda p, n: (every(p), n.sim > n.sum(n.sim) / n.count())), "Mine .*expand"),
        (Mine(lambda p, n: (every(p), n.sim > n.sim.mean())), "Mine .*same negatives"),
        (Mine(lambda p, n: (p.sim > p.sim.max() - 0.5, every(n))), "Mine .*same positives"),
        (Mine(lambda p, n: (every(p), torch.rand_like(n.sim) < 0.5)), "Mine .*same negatives"),
        (Mine(lambda p, n: (every(p), n.sim)), "Mine .*two tensors of booleans"),
        (TooHigh(0.1), "TooHigh must keep the same .* below its bound"),
        (3, "must be a PairMining"),
        (MSMining, "must be a PairMining"),
    ],
)
def test_a_broken_promise_is_named(rule, said):
    with pytest.raises(ValueError, match=said):
        check_mining(rule)
