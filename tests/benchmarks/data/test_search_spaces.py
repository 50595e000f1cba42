import math

import pytest

from benchmarks.data.search_spaces import EDGE, EVERY_ROW, ROWS, Range
from pml_gpw.losses import VARIANTS


@pytest.mark.parametrize(
    ("limits", "value", "edge"),
    [
        (Range(0, 1), 0.02, "low"),
        (Range(0, 1), 0.021, None),
        (Range(0, 1), 0.98, "high"),
        (Range(0, 1), 0.979, None),
        (Range(0, 1, least=0), 0.0, None),
        (Range(0, 1, most=1), 1.0, None),
        (Range(0, 1, most=2), 1.0, "high"),
        (Range(0.01, 100, log=True), 0.01 * 10 ** (4 * 0.019), "low"),
        (Range(0.01, 100, log=True), 0.01 * 10 ** (4 * 0.021), None),
        (Range(0.01, 100, log=True), 100 * 10 ** (-4 * 0.019), "high"),
        (Range(0.01, 100, log=True), 98 * EDGE, None),
    ],
)
def test_edges_are_the_outer_share_of_a_range_that_can_grow(limits, value, edge):
    assert limits.edge_at(value) == edge


def test_ranges_grow_within_their_limits():
    assert Range(0, 1).widened("low") == Range(-0.5, 1)
    assert Range(0, 1).widened("high") == Range(0, 1.5)
    assert Range(0, 1, most=1.2).widened("high") == Range(0, 1.2, most=1.2)
    assert Range(0.1, 10, log=True).widened("high") == Range(0.1, 100, log=True)
    assert Range(0.1, 10, log=True).widened("low").low == pytest.approx(0.01)
    assert Range(0, 1).widened(None) == Range(0, 1)


def test_every_variant_is_a_row_and_those_without_n_are_balanced_too():
    variants = {letters or "none" for letters in VARIANTS}
    balanced = {f"{letters or 'none'} balanced" for letters in VARIANTS if "N" not in letters}
    assert ROWS.keys() == variants | balanced | {"contrastive", "triplet-semihard", "ntxent"}


@pytest.mark.parametrize("row", EVERY_ROW.values(), ids=lambda row: row.name)
def test_rows_are_made_of_their_defaults_and_of_the_ends_of_their_ranges(row):
    assert row.defaults.keys() == row.space.keys()
    for name, limits in row.space.items():
        assert limits.low <= row.defaults[name] <= limits.high
        assert limits.least <= limits.low < limits.high <= limits.most
        for end in (limits.low, limits.high):
            row.make(**{**row.defaults, name: end})
    miner, loss = row.make(**row.defaults)
    plain_miner, plain_loss = row.make()
    assert repr(loss) == repr(plain_loss)
    assert repr(miner) == repr(plain_miner)


def test_ranges_hold_what_others_have_found():
    space = ROWS["SNP"].space
    found = {"alpha": (7.49, 17.97), "beta": (47.99, 156.61), "base": (0.63, 0.77)}
    found["epsilon"] = (0.34, 0.72)
    for name, values in found.items():
        for value in values:
            assert space[name].low < value < space[name].high
            assert space[name].edge_at(value) is None
    assert math.isclose(space["alpha"].low, 0.01)
    assert space["alpha"].high >= 100
