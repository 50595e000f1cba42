import pytest

from pml_gpw import ms_variant
from pml_gpw.losses import VARIANTS
from pml_gpw.mining import MSMining
from pml_gpw.weightings import BinomialDeviance, Constant, LiftedStructure, MultiSimilarity

GIVEN = {"alpha": 3, "beta": 40, "base": 0.3}
WEIGHTINGS = {
    "": Constant(),
    "S": BinomialDeviance(**GIVEN),
    "N": LiftedStructure(3, 40, None),
    "SN": MultiSimilarity(**GIVEN),
}


@pytest.mark.parametrize("letters", VARIANTS)
def test_the_rules_of_every_variant(letters):
    miner, loss = ms_variant(letters, **GIVEN, epsilon=0.2)
    assert loss.weighting == WEIGHTINGS[letters.replace("P", "")]
    assert loss.mining is None
    assert (miner and miner.mining) == (MSMining(0.2) if "P" in letters else None)
