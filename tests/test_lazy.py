"""Names that are looked for where they are not."""

import pytest

import pml_gpw
from pml_gpw import losses, miners, training


@pytest.mark.parametrize(
    ("module", "name", "place"),
    [
        (pml_gpw, "MultiSimilarityLoss", "pml_gpw.losses.MSWeightedLoss"),
        (pml_gpw, "MultiSimilarityMiner", "pml_gpw.miners.MSMiner"),
        (pml_gpw, "NTXentLoss", "pml_gpw.losses.NTXentLoss"),
        (losses, "MultiSimilarityLoss", "pml_gpw.losses.MSWeightedLoss"),
        (losses, "MSMiner", "pml_gpw.miners.MSMiner"),
        (miners, "MultiSimilarityMiner", "pml_gpw.miners.MSMiner"),
        (training, "MSLoss", "pml_gpw.losses.MSLoss"),
    ],
)
def test_a_loss_or_miner_is_told_its_place(module, name, place):
    """PML's names of the Multi-Similarity loss and miner among them."""
    said = f"module '{module.__name__}' has no attribute '{name}': it is {place}$"
    with pytest.raises(AttributeError, match=said):
        getattr(module, name)


@pytest.mark.parametrize("name", ["Nothing", "nothing", "__wrapped__"])
def test_other_names_are_no_attributes(name):
    with pytest.raises(AttributeError, match=f"'pml_gpw' has no attribute '{name}'$") as error:
        getattr(pml_gpw, name)
    assert error.value.name == name
