"""The means of the field, against plain formulas and PML's losses."""

import pytest
import torch
from pytorch_metric_learning import losses

from pml_gpw.functional import gpw_loss
from pml_gpw.mining import MSMining
from pml_gpw.reductions import REDUCTIONS
from pml_gpw.weightings import MultiSimilarity

from .row_losses import Circle, Hardest, NTXent, SupCon
from .tolerances import close


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    labels = torch.arange(40) // 5
    labels[:3] = torch.tensor([20, 21, 22])  # anchors without positives
    return x.requires_grad_(), labels


def by_hand(name, each, labels):
    positives = (labels == labels[:, None]).sum(dim=1) - 1
    counted = {
        "mean_of_anchors_with_pairs": torch.ones(40).bool(),
        "mean_of_anchors_with_positives": positives > 0,
        "mean_of_nonzero": each > 0,
    }
    if name in counted:
        return each[counted[name]].mean()
    return {
        "mean": each.mean,
        "sum": each.sum,
        "mean_of_positive_pairs": lambda: each.sum() / positives.sum(),
    }[name]()


@pytest.mark.parametrize("weighting", [SupCon(), NTXent(), Hardest(), MultiSimilarity()], ids=repr)
@pytest.mark.parametrize("name", sorted(set(REDUCTIONS) - {"none"}))
def test_against_the_losses_of_the_anchors(name, weighting):
    x, labels = batch()
    found = gpw_loss(x, labels, weighting, reduction=name)
    expected = by_hand(name, gpw_loss(x, labels, weighting, reduction="none"), labels)
    close(found, expected)
    for one, other in zip(*(torch.autograd.grad(v, x) for v in (found, expected)), strict=True):
        close(one, other)


@pytest.mark.parametrize(
    ("weighting", "reduction", "theirs"),
    [
        (SupCon(), "mean_of_nonzero", losses.SupConLoss()),
        (SupCon(), "mean_of_anchors_with_positives", losses.SupConLoss()),
        (Circle(), "mean_of_nonzero", losses.CircleLoss()),
        (NTXent(), "mean_of_positive_pairs", losses.NTXentLoss()),
    ],
)
def test_those_of_pml(weighting, reduction, theirs):
    x, labels = batch()
    results = []
    for value in (gpw_loss(x, labels, weighting, reduction=reduction), theirs(x, labels)):
        results.append((value.detach(), *torch.autograd.grad(value, x)))
    for one, other in zip(*results, strict=True):
        close(one, other, 1e-6)


@pytest.mark.parametrize("name", sorted(set(REDUCTIONS) - {"none"}))
def test_nothing_is_zero(name):
    x, _ = batch()
    nothing = gpw_loss(x, torch.arange(40), SupCon(), MSMining(), reduction=name)
    assert nothing == 0
    nothing.backward()
    assert x.grad.count_nonzero() == 0
    empty = gpw_loss(x[:0], torch.zeros(0).long(), SupCon(), reduction=name)
    assert empty == 0
