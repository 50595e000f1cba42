"""Arguments of a call: which pairs they mean, and errors that name what is wrong."""

import pytest
import torch

from pml_gpw import GPWLoss, MSLoss, MSMiner
from pml_gpw.arguments import find_self_index
from pml_gpw.functional import ms_loss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from .engine.batches import embed
from .tolerances import close


def test_anchors_among_the_references():
    x = torch.randn(3, 2)
    for twin in (x, x.clone().detach()):
        assert find_self_index(x, twin).tolist() == [0, 1, 2]
    assert find_self_index(x, x.flip(0)).tolist() == [-1] * 3
    assert find_self_index(x, x[:2]) is None


@pytest.mark.parametrize("n", [30, 300])
@pytest.mark.parametrize("layout", ["auto", "dense", "sparse rows", "sparse batch"])
def test_self_pairs_are_left_out_whatever_their_labels(n, layout):
    """The references are the embeddings with other labels: an anchor and itself are no pair."""
    x, labels = embed(n, 0, torch.float64)
    others = labels.roll(7)
    equal, apart = labels[:, None] == others, ~torch.eye(n, dtype=torch.bool)
    kept = MSMining(0.3)(x @ x.T, equal & apart, ~equal & apart)
    expected = MultiSimilarity().losses(x @ x.T, *kept).mean()
    loss = GPWLoss(MultiSimilarity(), MSMining(0.3), chunk_size=50)
    miner = MSMiner(0.3, chunk_size=50)
    loss.layout = miner.layout = layout
    for references in (x, x.clone()):
        for place in (None, torch.arange(n)):
            arguments = references, others, place
            close(loss(x, labels, None, *arguments), expected)
            mined = miner(x, labels, *arguments)
            assert (len(mined[0]), len(mined[2])) == (kept[0].sum(), kept[1].sum())


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.jacrev, torch.func.vmap])
def test_transforms_of_functorch_are_named(transform):
    x, labels = embed(12, 0, torch.float32)
    several = torch.stack([x, x]) if transform is torch.func.vmap else x
    message = r"must be a plain tensor, got one inside .*torch.func"
    for call in (
        lambda e: ms_loss(e, labels),
        lambda e: MSLoss()(e, labels),
        lambda e: ms_loss(x, labels, references=e, reference_labels=labels),
    ):
        with pytest.raises(ValueError, match=message):
            transform(call)(several)
