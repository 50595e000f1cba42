import pytest

from pml_gpw import ms_variant
from pml_gpw.losses import VARIANTS

from ..covering import covering
from ..hosts.pml2.training import train


@pytest.mark.parametrize("letters", covering(VARIANTS, one_in=1, quick=7))
def test_every_variant_learns(letters):
    miner, loss = ms_variant(letters)
    history, _ = train(loss, miner, iterations=40)
    assert sum(history[-5:]) < sum(history[:5])
