import hypothesis.strategies as st
import torch
from hypothesis import given

from pml_gpw.mining import MSMining

from .. import oracles


def mined_by_loop(epsilon, sim, pos, neg):
    kept_pos, kept_neg = torch.zeros_like(pos), torch.zeros_like(neg)
    for i, row in enumerate(sim.tolist()):
        p, n = pos[i].nonzero().flatten().tolist(), neg[i].nonzero().flatten().tolist()
        keep_p, keep_n = oracles.mine(epsilon, [row[j] for j in p], [row[j] for j in n])
        kept_pos[i, p] = torch.tensor(keep_p, dtype=torch.bool)
        kept_neg[i, n] = torch.tensor(keep_n, dtype=torch.bool)
    return kept_pos, kept_neg


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    epsilon=st.sampled_from([0, 0.1, 0.5, 1, 3]),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_equals_the_equations(labels, epsilon, seed, coarse):
    sim = (
        torch.rand(len(labels), len(labels), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    )
    if coarse:  # many exact ties
        sim = (sim * 2).round() / 2
    sim = sim.double()
    pos, neg = oracles.pairs_of(torch.tensor(labels))
    for actual, expected in zip(
        MSMining(epsilon)(sim, pos, neg), mined_by_loop(epsilon, sim, pos, neg), strict=True
    ):
        assert torch.equal(actual, expected)


@given(seed=st.integers(0, 1000))
def test_larger_epsilon_keeps_more_and_both_kinds_vanish_together(seed):
    sim = torch.randn(10, 10, generator=torch.Generator().manual_seed(seed)).double()
    pos, neg = oracles.pairs_of(torch.arange(10) // 3)
    previous = torch.zeros_like(pos), torch.zeros_like(neg)
    for epsilon in (0, 0.05, 0.3, 1, 5):
        mined = MSMining(epsilon)(sim, pos, neg)
        for kept, before in zip(mined, previous, strict=True):
            assert (kept | before).equal(kept)
        assert mined[0].any(dim=1).equal(mined[1].any(dim=1))
        previous = mined
    assert previous[0].equal(pos & neg.any(dim=1, keepdim=True)), "a huge ε keeps every pair"


def test_no_references():
    empty = torch.zeros(3, 0)
    assert MSMining()(empty, empty.bool(), empty.bool())[0].shape == (3, 0)
