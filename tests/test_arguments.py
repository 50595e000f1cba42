"""Arguments of a call: which pairs they mean, and errors that name what is wrong."""

from functools import partial

import pytest
import torch

from pml_gpw import GPWLoss, MSLoss, MSMiner
from pml_gpw.arguments import find_self_index
from pml_gpw.functional import gpw_loss, mine, ms_loss, share_a_label
from pml_gpw.mining import MSMining
from pml_gpw.weightings import Constant, MultiSimilarity

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
    diagonal = torch.eye(n, dtype=torch.bool)
    pos = (labels[:, None] == others) & ~diagonal
    neg = (labels[:, None] != others) & ~diagonal
    kept = MSMining(0.3)(x @ x.T, pos, neg)
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


def test_a_place_that_is_given_counts():
    """Also where the labels differ, as those of a reference that has been corrected since."""
    x, labels = embed(12, 0, torch.float64)
    y, others = torch.cat([x, x.flip(0)]), torch.cat([labels + 100, labels.flip(0)])
    place = torch.arange(12)
    loss = gpw_loss(x, labels, Constant(), references=y, reference_labels=others, self_index=place)
    sim, same = x @ y.T, labels[:, None] == others
    sim[place, place] = 0
    close(loss, torch.where(same, -sim, sim).sum(dim=1).mean())


def test_labels_of_references_that_are_not_there():
    """Refused by functions; the objects do as PML's, which ignore them."""
    x, labels = embed(12, 0, torch.float64)
    message = "reference_labels must be None without references"
    for function in (ms_loss, partial(mine, mining=MSMining())):
        with pytest.raises(ValueError, match=message):
            function(x, labels, reference_labels=labels.flip(0))
    assert MSLoss()(x, labels, ref_labels=labels.flip(0)) == MSLoss()(x, labels)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (torch.tensor([0, 1, 2]), r"labels must be multi-hot, .*got torch.int64 \(3,\)"),
        (torch.tensor([[0, 1], [1, 2], [0, 0]]), "labels must be multi-hot, of 0 and 1 only"),
        (torch.tensor([[0, 1], [1, -1], [0, 0]]), "labels must be multi-hot, of 0 and 1 only"),
    ],
)
def test_labels_that_are_not_multi_hot(tags, message):
    with pytest.raises(ValueError, match=message):
        gpw_loss(torch.eye(3), tags, Constant(), pairs=share_a_label)
    hot = torch.tensor([[0, 1], [1, 1], [0, 0]])
    with pytest.raises(ValueError, match=f"reference_{message}"):
        share_a_label(hot, tags)
    for dtype in (torch.bool, torch.int64, torch.float32):
        assert share_a_label(hot.to(dtype), hot.to(dtype)).sum() == 4


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


X, LABELS = embed(12, 0, torch.float32)
META = LABELS.to("meta")


@pytest.mark.parametrize(
    "call",
    [
        lambda: ms_loss(X, META),
        lambda: MSLoss()(X, META),
        lambda: MSMiner()(X, META),
        lambda: ms_loss(X, LABELS, references=X.clone(), reference_labels=META),
        lambda: gpw_loss(X, META, Constant(), pairs=lambda a, b: a[:, None] == b),
        lambda: gpw_loss(X, None, Constant(), pairs=torch.ones(12, 12).bool().to("meta")),
    ],
)
def test_labels_that_the_call_cannot_read(call):
    with pytest.raises(ValueError, match=r"must hold values for embeddings on cpu, got a meta"):
        call()
