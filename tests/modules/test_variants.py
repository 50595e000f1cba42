import pytest

from pml_gpw import ms_variant
from pml_gpw.losses import VARIANTS

from ..hosts.pml2.training import train


@pytest.mark.parametrize("letters", VARIANTS)
def test_every_variant_learns(letters):
    miner, loss = ms_variant(letters)
    history, _ = train(loss, miner, iterations=40)
    assert sum(history[-5:]) < sum(history[:5])


@pytest.mark.parametrize(
    ("similarities", "settings", "message"),
    [
        ("SX", {}, 'must consist of the letters "S", "N", "P", got \'SX\''),
        ("sn", {}, "similarities must .*, got 'sn'"),
        (None, {}, "similarities must .*, got None"),
        ("SN", {"alpha": -1}, "alpha must be .*, got -1"),
        ("", {"beta": -1}, "beta must be .*, got -1"),
        ("S", {"epsilon": -1}, "epsilon must be .*, got -1"),
    ],
)
def test_bad_arguments(similarities, settings, message):
    with pytest.raises(ValueError, match=message):
        ms_variant(similarities, **settings)
