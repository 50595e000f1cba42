"""Which leaves get a gradient, in which precision, and when it is formed."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import LabelPairs, Plan, StreamedBatch, reference_losses, streamed_losses
from pml_gpw.engine.gradients import GradientProducts
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..tolerances import close
from .batches import clusters, embed

MININGS = [None, MSMining(0.0), MSMining(0.1), MSMining(0.7)]


def test_references_without_gradient():
    x, labels = embed(20, 0, torch.float64)
    y, ref_labels = embed(30, 1, torch.float64)
    x.requires_grad_()
    free = y.clone().requires_grad_()

    def gradient(references):
        streamed = StreamedBatch(x, references, LabelPairs(labels, ref_labels), plan=Plan(8))
        losses, _, _ = streamed_losses(streamed, MultiSimilarity(), uniform_upstream=True)
        return torch.autograd.grad(losses.sum(), x)[0]

    close(gradient(y), gradient(free))


def test_detached_references_get_no_gradient():
    """They share their memory with the anchors, and are still not the anchors."""
    distance = DotProductSimilarity(normalize_embeddings=False)
    x, labels = embed(20, 0, torch.float64)
    x.requires_grad_()
    own = label_masks(labels, labels, torch.arange(20))
    expected = reference_losses(x @ x.detach().T, *own, MultiSimilarity()).mean()
    loss = GPWLoss(MultiSimilarity(), distance=distance)(x, labels, ref_emb=x.detach())
    close(*(torch.autograd.grad(value, x)[0] for value in (loss, expected)))


@pytest.mark.parametrize("mining", MININGS, ids=repr)
def test_backward_under_autocast(mining):
    x, labels = embed(24, 0, torch.float32)
    x.requires_grad_()
    loss = GPWLoss(MultiSimilarity(), mining, reducer=DoNothingReducer())

    def gradient(autocast):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            losses = loss(x, labels)["loss"]["losses"]
            return torch.autograd.grad((losses * torch.linspace(0, 1, 24)).sum(), x)[0]

    assert gradient(True).equal(gradient(False))


def test_no_gradient_is_formed_where_none_is_asked_for(monkeypatch):
    x, labels = clusters(300, 0.1)
    loss = MSLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    formed = []

    class Noted(GradientProducts):
        def __init__(self, *args, **kwargs):
            formed.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr("pml_gpw.engine.streaming.GradientProducts", Noted)
    with torch.no_grad():
        loss(x.requires_grad_(), labels)
    assert not formed
    loss(x, labels)
    assert formed, "nobody would have noticed"
