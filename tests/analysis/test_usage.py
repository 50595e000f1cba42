"""Which similarities are used, measured: where the definition leaves no doubt."""

import warnings

import pytest
import torch
from pytorch_metric_learning import distances, losses

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.analysis import similarity_usage
from pml_gpw.weightings import Contrastive, MultiSimilarity

COSINE = {"distance": distances.CosineSimilarity()}
EUCLIDEAN = {"distance": distances.LpDistance()}
USED = [
    (GPWLoss(Contrastive()), "S / –"),
    (GPWLoss(MultiSimilarity()), "SN / SP"),
    (losses.NTXentLoss(), "NP / N"),
    (losses.TripletMarginLoss(), "P / N"),
]
ALSO_USED = [  # further ones stand in the committed table of benchmarks.similarity_usage
    (losses.ContrastiveLoss(0.9, 0.1, **COSINE), "S / S"),
    (losses.MarginLoss(beta=0.9, margin=0.05, **COSINE), "S / S"),
    # a distance is a negated similarity
    (losses.ContrastiveLoss(0, 1), "S / –"),
    (losses.ContrastiveLoss(0.5, 1), "S / S"),
    (GPWLoss(Contrastive(margin=1.0), **EUCLIDEAN), "S / –"),
    (MSLoss(**EUCLIDEAN), "SNP / SNP"),
]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [*USED, *(pytest.param(*row, marks=pytest.mark.exhaustive) for row in ALSO_USED)],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_usage_is_measured_and_the_loss_left_as_it_was(loss, expected):
    parts = loss.reducer, loss.distance
    assert str(similarity_usage(loss)) == expected
    assert (loss.reducer, loss.distance) == parts


def test_probes_that_mining_leaves_without_pairs_pass_silently():
    loss = MSLoss(beta=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(similarity_usage(loss)) == "SNP / SNP"
    with pytest.warns(UserWarning, match="no pairs to weigh"):  # the loss itself still warns
        loss(torch.eye(2), torch.tensor([0, 1]))
