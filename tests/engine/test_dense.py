"""Which leaves get a gradient, in which precision, when it is formed, and by how many products."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import reference_losses
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.functional import gpw_loss
from pml_gpw.weightings import MultiSimilarity

from ..probes import Products
from ..tolerances import close
from .batches import clusters, embed


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_references_without_gradient(reduction):
    """The gradient of the anchors is what it is beside references that have one."""
    x, labels = embed(20, 0, torch.float64)
    y, ref_labels = embed(30, 1, torch.float64)
    given = {"reference_labels": ref_labels, "reduction": reduction, "chunk_size": 8}
    found = []
    for references in (y, y.clone().requires_grad_()):
        leaf = x.clone().requires_grad_()
        loss = gpw_loss(leaf, labels, MultiSimilarity(), references=references, **given)
        found.append(torch.autograd.grad(loss.sum(), leaf)[0])
    close(*found)


def test_detached_references_get_no_gradient():
    """They share their memory with the anchors, and are still not the anchors."""
    distance = DotProductSimilarity(normalize_embeddings=False)
    x, labels = embed(20, 0, torch.float64)
    x.requires_grad_()
    own = label_masks(labels, labels, torch.arange(20))
    expected = reference_losses(x @ x.detach().T, *own, MultiSimilarity()).mean()
    loss = GPWLoss(MultiSimilarity(), distance=distance)(x, labels, ref_emb=x.detach())
    close(*(torch.autograd.grad(value, x)[0] for value in (loss, expected)))


def test_backward_under_autocast():
    x, labels = embed(24, 0, torch.float32)
    x.requires_grad_()

    def gradient(autocast):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            losses = MSLoss(reducer=DoNothingReducer())(x, labels)["loss"]["losses"]
            return torch.autograd.grad((losses * torch.linspace(0, 1, 24)).sum(), x)[0]

    assert gradient(True).equal(gradient(False))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_gradient_is_formed_where_none_is_asked_for(layout):
    x, labels = clusters(300, 0.1)
    loss, seen = MSLoss(similarity="dot"), []
    loss.layout = layout
    for context in (torch.no_grad(), torch.enable_grad()):
        with context, Products() as products:
            loss(x.requires_grad_(), labels)
        seen.append(products.multiply_adds)
    assert seen[0] < seen[1]


@pytest.mark.parametrize(
    ("products", "chunk_size", "references"),
    [(2, None, False), (2, 300, False), (3, 100, False), (3, None, True)],
)
def test_one_product_takes_both_sides_of_a_batch_with_itself(products, chunk_size, references):
    """Where the weights of all anchors are held; else each chunk needs one for either side."""
    x, labels = clusters(300, 0.1)
    loss = MSLoss(chunk_size=chunk_size)
    loss.layout, y = "dense", x.clone().requires_grad_()
    with Products() as seen:
        loss(x.requires_grad_(), labels, None, *((y, labels) if references else ())).backward()
    assert seen.multiply_adds == products * 300 * 300 * x.shape[1]
