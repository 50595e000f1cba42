"""Which similarities are used, measured: where the definition leaves no doubt."""

import warnings

import pytest
import torch
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.reducers import SumReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.analysis import similarity_usage
from pml_gpw.weightings import (
    BinomialDeviance,
    Constant,
    Contrastive,
    LiftedStructure,
    MultiSimilarity,
    Triplet,
)

COSINE = {"distance": distances.CosineSimilarity()}


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (GPWLoss(Constant()), "– / –"),
        (GPWLoss(Contrastive()), "S / –"),
        (GPWLoss(BinomialDeviance()), "S / S"),
        (GPWLoss(LiftedStructure(2, 50, margin=None)), "N / P"),
        (GPWLoss(Triplet()), "P / N"),
        (GPWLoss(MultiSimilarity()), "SN / SP"),
        (MSLoss(), "SNP / SNP"),
        (losses.MultiSimilarityLoss(), "SN / SP"),
        (losses.ContrastiveLoss(1, 0.1, **COSINE), "S / –"),
        (losses.TripletMarginLoss(**COSINE), "P / N"),
        (losses.NCALoss(), "NP / NP"),
        (losses.NTXentLoss(), "NP / N"),
        (losses.NPairsLoss(**COSINE), "NP / N"),
        (GPWLoss(Contrastive(margin=0.9)), "S / –"),
        (losses.ContrastiveLoss(0.9, 0.1, **COSINE), "S / S"),
        (losses.MarginLoss(beta=0.9, margin=0.05, **COSINE), "S / S"),
        (losses.ThresholdConsistentMarginLoss(), "SN / SP"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_usage(loss, expected):
    assert str(similarity_usage(loss)) == expected


def test_a_loss_is_left_as_it_was():
    loss = losses.ContrastiveLoss()
    reducer = loss.reducer
    similarity_usage(loss)
    assert loss.reducer is reducer
    assert type(loss.distance) is distances.LpDistance


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.ContrastiveLoss(0, 1), "S / –"),
        (losses.ContrastiveLoss(0.5, 1), "S / S"),
        (losses.TripletMarginLoss(), "P / N"),
        (losses.SignalToNoiseRatioContrastiveLoss(pos_margin=0, neg_margin=1), "S / –"),
        (GPWLoss(Contrastive(margin=1.0), distance=distances.LpDistance()), "S / –"),
        (MSLoss(distance=distances.LpDistance()), "SNP / SNP"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_a_distance_is_a_negated_similarity(loss, expected):
    loss.reducer = SumReducer()
    assert str(similarity_usage(loss)) == expected


def test_probes_that_mining_leaves_without_pairs_pass_silently():
    loss = MSLoss(beta=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(similarity_usage(loss)) == "SNP / SNP"
    with pytest.warns(UserWarning, match="no pairs to weigh"):  # the loss itself still warns
        loss(torch.eye(2), torch.tensor([0, 1]))
