"""Names that are looked for where they are not."""

import pytest

import pml_gpw
from pml_gpw import losses, miners, training


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (pml_gpw, "MultiSimilarityLoss", ": it is pml_gpw.losses.MSWeightedLoss"),
        (pml_gpw, "MultiSimilarityMiner", ": it is pml_gpw.miners.MSMiner"),
        (pml_gpw, "NTXentLoss", ": it is pml_gpw.losses.NTXentLoss"),
        (losses, "MultiSimilarityLoss", ": it is pml_gpw.losses.MSWeightedLoss"),
        (losses, "MSMiner", ": it is pml_gpw.miners.MSMiner"),
        (miners, "MultiSimilarityMiner", ": it is pml_gpw.miners.MSMiner"),
        (training, "MSLoss", ": it is pml_gpw.losses.MSLoss"),
        *((pml_gpw, name, "") for name in ("Nothing", "nothing", "__wrapped__")),
    ],
)
def test_a_loss_or_miner_is_told_its_place(module, name, said):
    """PML's names of the Multi-Similarity loss and miner among them; others are no attributes."""
    message = f"module '{module.__name__}' has no attribute '{name}'{said}$"
    with pytest.raises(AttributeError, match=message) as error:
        getattr(module, name)
    assert error.value.name == name
