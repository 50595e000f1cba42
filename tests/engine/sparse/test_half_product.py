"""Half of the product is enough where the relation of pairs is symmetric, and only there."""

import pytest
import torch

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.mining import MSMining

from ...probes import Products
from ...tolerances import close
from ..batches import clusters


@pytest.mark.parametrize("make", [MSLoss, MSMiner])
def test_half_of_the_product_is_formed(make):
    """Of a batch with itself whose mining keeps few pairs; of any other all of it."""
    x, labels = clusters(1000, 0.1)
    x.requires_grad_()

    def share(*references):
        found = make(chunk_size=64)
        with Products() as seen:
            result = found(x, labels, *references)
            if make is MSLoss:
                result.backward()
        return seen.multiply_adds / (1000 * 1000 * x.shape[1])

    assert 0.4 < share() < 0.55
    assert share(*((None,) if make is MSLoss else ()), x.clone(), labels) >= 1


@pytest.mark.parametrize("chunk", [64, 500], ids=["chunks", "one chunk"])
def test_the_same_references_with_other_labels_or_copies(chunk):
    """Then the relation of a pair is not symmetric, and half the product is not enough."""
    x, labels = clusters(500, 0.1)
    other = labels.clone()
    other[:50] = labels[50:100]
    nowhere, own = torch.full((500,), -1), torch.arange(500)
    for arguments in (
        {"ref_emb": x, "ref_labels": other},
        {"own": nowhere},
        {"own": torch.where(own < 250, own, nowhere)},
    ):
        mined = MSMiner(0.05, chunk_size=chunk)(x, labels, **arguments)
        unit = torch.nn.functional.normalize(x)
        masks = label_masks(labels, arguments.get("ref_labels", labels), arguments.get("own", own))
        pos, neg = MSMining(0.05)(unit @ unit.T, *masks)
        assert (len(mined[0]), len(mined[2])) == (pos.sum(), neg.sum())
        assert pos[mined[0], mined[1]].all()
        assert neg[mined[2], mined[3]].all()
        whole = MSLoss(epsilon=0.05, chunk_size=chunk)(x, labels, **arguments)
        close(whole, MSWeightedLoss()(x, labels, mined, x))
