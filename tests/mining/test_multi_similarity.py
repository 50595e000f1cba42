import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from pml_gpw.mining import MSMining

from .. import oracles


@settings(max_examples=30)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    epsilon=st.sampled_from([0, 0.1, 0.5, 1, 3]),
    seed=st.integers(0, 1000),
    coarse=st.booleans(),
)
def test_equals_the_equations(labels, epsilon, seed, coarse):
    """Also where similarities are equal, or are apart by just ε."""
    generator = torch.Generator().manual_seed(seed)
    sim = 2 * torch.rand(len(labels), len(labels), generator=generator, dtype=torch.float64) - 1
    if coarse:
        sim = (sim * 2).round() / 2
    masks = oracles.pairs_of(torch.tensor(labels))
    rule = MSMining(epsilon)
    expected = oracles.mined_row_by_row(oracles.ms_mining, rule, sim, *masks)
    for found, mask in zip(rule(sim, *masks), expected, strict=True):
        assert found.equal(mask)
