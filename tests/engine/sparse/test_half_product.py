"""Half of the product is enough where the relation of pairs is symmetric, and only there."""

import pytest
import torch

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.mining import MSMining

from ...tolerances import close
from ..batches import clusters


@pytest.mark.parametrize("chunk", [64, 500], ids=["chunks", "one chunk"])
def test_the_same_references_with_other_labels_or_copies(chunk):
    """Then the relation of a pair is not symmetric, and half the product is not enough."""
    x, labels = clusters(500, 0.1)
    other = labels.clone()
    other[:50] = labels[50:100]
    nowhere = torch.full((500,), -1)
    for arguments in (
        {"ref_emb": x, "ref_labels": other},
        {"own": nowhere},
        {"own": torch.where(torch.arange(500) < 250, torch.arange(500), -1)},
    ):
        mined = MSMiner(0.05, chunk_size=chunk)(x, labels, **arguments)
        unit = torch.nn.functional.normalize(x)
        ref_labels = arguments.get("ref_labels", labels)
        own = arguments.get("own", torch.arange(500))
        pos, neg = MSMining(0.05)(unit @ unit.T, *label_masks(labels, ref_labels, own))
        assert (len(mined[0]), len(mined[2])) == (pos.sum(), neg.sum())
        assert pos[mined[0], mined[1]].all()
        assert neg[mined[2], mined[3]].all()
        close(
            MSLoss(epsilon=0.05, chunk_size=chunk)(x, labels, **arguments),
            MSWeightedLoss()(x, labels, mined, x),
        )
