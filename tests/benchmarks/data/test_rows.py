"""The rows of the tables: what they make, and what is searched of them."""

import math

import pytest
import torch

from benchmarks.data.presets import preset
from benchmarks.data.rows import FIELD, ROWS
from benchmarks.measure.search import edge_at
from benchmarks.measure.tuning_plan import TUNED
from pml_gpw.losses import VARIANTS


def test_rows_take_what_they_have_of_the_hyperparameters_of_an_experiment():
    of_text = preset("CUB200", "text").hyperparameters
    for row in ROWS.values():
        row.of_experiment(of_text)
    _, loss = ROWS["SNP"].of_experiment(of_text)
    assert (loss.weighting.beta, loss.weighting.base) == (50, 1)
    assert ROWS["ntxent"].of_experiment(of_text)[1].temperature == 0.07


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_every_row_gives_a_gradient_and_is_made_of_its_defaults_and_the_ends_of_its_ranges(row):
    miner, loss = row.make()
    x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(20) // 5
    loss(x, labels, None if miner is None else miner(x, labels)).backward()
    assert x.grad.abs().sum() > 0
    assert row.defaults.keys() == row.space.keys()
    for name, limits in row.space.items():
        assert limits.low <= row.defaults[name] <= limits.high
        assert limits.least <= limits.low < limits.high <= limits.most
        for end in (limits.low, limits.high):
            row.make(**{**row.defaults, name: end})
    assert list(map(repr, row.make(**row.defaults))) == list(map(repr, row.make()))


def test_every_variant_is_a_row_and_those_without_n_are_balanced_too():
    variants = {letters or "none" for letters in VARIANTS}
    balanced = {f"{letters or 'none'} balanced" for letters in VARIANTS if "N" not in letters}
    usual = {"contrastive", "triplet-semihard", "ntxent", "pml-ms"}
    assert TUNED.keys() == variants | balanced | usual
    assert ROWS.keys() == TUNED.keys() | FIELD.keys()


def test_parameters_reach_the_losses_of_pml():
    for name, parameters in (
        ("contrastive", {"pos_margin": 0.9, "neg_margin": 0.3}),
        ("triplet-semihard", {"margin": 0.7}),
        ("ntxent", {"temperature": 0.2}),
    ):
        for module in filter(None, ROWS[name].make(**parameters)):
            assert {key: getattr(module, key) for key in parameters} == parameters


def test_ranges_hold_what_others_have_found():
    space = ROWS["SNP"].space
    found = {"alpha": (7.49, 17.97), "beta": (47.99, 156.61), "base": (0.63, 0.77)}
    found["epsilon"] = (0.34, 0.72)
    for name, values in found.items():
        for value in values:
            assert space[name].low < value < space[name].high
            assert edge_at(space[name], value) is None
    assert math.isclose(space["alpha"].low, 0.01)
    assert space["alpha"].high >= 100
