"""What the constructor takes, what an object warns of, and that it gives the same bits."""

import pytest

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.weightings import MultiSimilarity, PairWeighting

from ..runs import run


class NoDataclass(PairWeighting):
    def weigh(self, pos, neg):
        return pos.sim, neg.sim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ms",), "weighting must be a PairWeighting .*, got 'ms'"),
        ((NoDataclass(),), "weighting must be a PairWeighting .a frozen dataclass., got"),
        ((MultiSimilarity(), 0.1), "mining must be a PairMining or None .*, got 0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GPWLoss(*arguments)


def test_same_bits_every_time(batch):
    first, second = run(MSLoss(), *batch), run(MSLoss(), *batch)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
