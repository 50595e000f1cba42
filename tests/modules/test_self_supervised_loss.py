import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss

from pml_gpw import GPWLoss, MSLoss, MSWeightedLoss
from pml_gpw.losses import SelfSupervisedLoss
from pml_gpw.weightings import BinomialDeviance

from ..tolerances import close

X, VIEW = torch.randn(2, 6, 4).unbind()
symmetric_or_not = pytest.mark.parametrize("symmetric", [True, False])


@symmetric_or_not
@pytest.mark.parametrize("loss", [MSWeightedLoss(), GPWLoss(BinomialDeviance())])
def test_two_views(loss, symmetric):
    labels = torch.arange(6)
    if symmetric:
        expected = loss(torch.cat([X, VIEW]), labels.repeat(2))
    else:
        expected = loss(X, labels, ref_emb=VIEW, ref_labels=labels)
    close(SelfSupervisedLoss(loss, symmetric=symmetric)(X, VIEW), expected)


@symmetric_or_not
@pytest.mark.parametrize("view", [X.clone(), VIEW], ids=["equal views", "views"])
def test_as_the_loss_of_pml(view, symmetric):
    """Equal views too are each other's positives."""
    ours = SelfSupervisedLoss(MSWeightedLoss(), symmetric=symmetric)(X, view)
    close(ours, SelfSupervisedLoss(MultiSimilarityLoss(), symmetric=symmetric)(X, view))


@symmetric_or_not
@pytest.mark.parametrize("loss", [type("Mine", (MSLoss,), {})(), MultiSimilarityLoss()])
@pytest.mark.parametrize(
    ("embeddings", "ref_emb", "message"),
    [
        (None, X, "embeddings must be a torch.Tensor, got NoneType"),
        (X, "x", "ref_emb must be a torch.Tensor, got str"),
        (X, X[0], r"ref_emb must have shape \(N, D\), got \(4,\)"),
        (X, X[:3], r"ref_emb must have the shape \(6, 4\) of embeddings, got \(3, 4\)"),
        (X, X.to_sparse(), "ref_emb must be a dense tensor"),
    ],
)
def test_bad_input(embeddings, ref_emb, message, loss, symmetric):
    with pytest.raises(ValueError, match=message):
        SelfSupervisedLoss(loss, symmetric=symmetric)(embeddings, ref_emb)
