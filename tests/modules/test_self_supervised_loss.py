import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss

from pml_gpw import GPWLoss, MSLoss, MSWeightedLoss
from pml_gpw.losses import SelfSupervisedLoss
from pml_gpw.weightings import BinomialDeviance

from ..tolerances import close


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", [MSWeightedLoss(), GPWLoss(BinomialDeviance())])
def test_self_supervised(loss, symmetric):
    a, b = torch.randn(2, 6, 4).unbind()
    labels = torch.arange(6)
    actual = SelfSupervisedLoss(loss, symmetric=symmetric)(a, b)
    if symmetric:
        expected = loss(torch.cat([a, b]), labels.repeat(2))
    else:
        expected = loss(a, labels, ref_emb=b, ref_labels=labels)
    close(actual, expected)
    if isinstance(loss, MSWeightedLoss):
        theirs = SelfSupervisedLoss(MultiSimilarityLoss(), symmetric=symmetric)(a, b)
        close(actual, theirs)


def test_equal_views_are_still_each_others_positives():
    a = torch.randn(6, 4)
    ours = SelfSupervisedLoss(MSWeightedLoss(), symmetric=False)(a, a.clone())
    close(ours, SelfSupervisedLoss(MultiSimilarityLoss(), symmetric=False)(a, a.clone()))


X = torch.randn(6, 4)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", [MSLoss(), MultiSimilarityLoss()])
@pytest.mark.parametrize(
    ("embeddings", "ref_emb", "message"),
    [
        (None, X, "embeddings must be a torch.Tensor, got NoneType"),
        (X, "x", "ref_emb must be a torch.Tensor, got str"),
        (X.tolist(), X, "embeddings must be a torch.Tensor, got list"),
        (X, X[0], r"ref_emb must have shape \(N, D\), got \(4,\)"),
        (X, X[:3], r"ref_emb must have the shape \(6, 4\) of embeddings, got \(3, 4\)"),
        (X, X.to_sparse(), "ref_emb must be a dense tensor"),
    ],
)
def test_bad_input(embeddings, ref_emb, message, loss, symmetric):
    with pytest.raises(ValueError, match=message):
        SelfSupervisedLoss(loss, symmetric=symmetric)(embeddings, ref_emb)


def test_self_supervised_takes_any_subclass_and_refuses_other_classes():
    class Mine(MSLoss):
        pass

    SelfSupervisedLoss(Mine())
    with pytest.raises(ValueError, match=r"loss must take embeddings, .* got torch.nn.*Linear"):
        SelfSupervisedLoss(torch.nn.Linear(2, 2))
