"""Which leaves get a gradient, in which precision, and when it is formed."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import (
    InnerProduct,
    LabelPairs,
    PairBatch,
    Plan,
    anchor_losses,
    reference_losses,
)
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.engine.reduction import MEAN
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..probes import Shapes
from ..tolerances import close
from .batches import clusters, embed

MININGS = [None, MSMining(0.0), MSMining(0.1), MSMining(0.7)]


def test_references_without_gradient():
    x, labels = embed(20, 0, torch.float64)
    y, ref_labels = embed(30, 1, torch.float64)
    x.requires_grad_()
    free = y.clone().requires_grad_()

    def gradient(references):
        batch = PairBatch(x, references, LabelPairs(labels, ref_labels))
        plain = InnerProduct(normalized=False)
        losses = anchor_losses(batch, MultiSimilarity(), None, plain, Plan(8), MEAN).losses
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


@pytest.mark.parametrize("layout", ["dense", "sparse rows", "sparse batch"])
def test_no_gradient_is_formed_where_none_is_asked_for(layout):
    """A product with all embeddings, (N, D), is what a gradient takes."""
    x, labels = clusters(300, 0.1)
    loss = MSLoss(distance=DotProductSimilarity(normalize_embeddings=False))
    loss.layout = layout
    x.requires_grad_()
    for formed, context in ((False, torch.no_grad()), (True, torch.enable_grad())):
        with context, Shapes() as seen:
            loss(x, labels)
        assert (x.shape in seen.shapes) == formed
