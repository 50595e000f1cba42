"""Every loss of the field, streamed: whatever the layout, the chunks and the references."""

import pytest
import torch
from torch.nn.functional import normalize

from pml_gpw import losses
from pml_gpw.engine import reference_losses
from pml_gpw.engine.plan import LAYOUTS
from pml_gpw.mining import MSMining
from pml_gpw.modules import CrossBatchMemory, GPWLoss

from ..cases import FIELD_CASES
from ..oracles import pairs_of
from ..tolerances import close
from .batches import embed

MININGS = [None, MSMining(0.3)]
UPSTREAM = torch.linspace(-1, 2, 33, dtype=torch.float64)


def gradients(losses, leaves, upstream=UPSTREAM):
    return losses.detach(), *torch.autograd.grad(losses, leaves, upstream, retain_graph=True)


def same(found, expected, tolerance=None):
    for one, other in zip(found, expected, strict=True):
        close(one, other, tolerance)


@pytest.mark.parametrize("own", [True, False], ids=["self", "references"])
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda case: case.name)
def test_values_and_gradients_are_those_of_whole_matrices(case, mining, own):
    x, labels = embed(33, 0, torch.float64)
    y, other = (x, labels) if own else embed(50, 1, torch.float64)
    x.requires_grad_()
    leaves, given = [x], ()
    if not own:
        leaves, given = [x, y.requires_grad_()], (None, y, other)
    sim = normalize(x, dim=1) @ normalize(y, dim=1).T
    masks = pairs_of(labels, None if own else other)
    expected = gradients(reference_losses(sim, *masks, case.weighting, mining), leaves)
    for layout in LAYOUTS:
        for chunk_size in (1, 7, 40):
            loss = GPWLoss(case.weighting, mining, chunk_size, reduction="none")
            loss.layout = layout
            same(gradients(loss(x, labels, *given), leaves), expected)


@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda case: case.name)
def test_in_single_precision(case):
    """Errors are those of similarities that are off by a rounding, as steep as the formula is."""
    x, labels = embed(33, 0, torch.float64)
    results = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.to(dtype).requires_grad_()
        loss = GPWLoss(case.weighting, chunk_size=7, reduction="none")
        results.append(gradients(loss(leaf, labels), [leaf], UPSTREAM.to(dtype)))
    same(*results, 1e-4)


@pytest.mark.parametrize("case", FIELD_CASES, ids=lambda case: case.name)
def test_against_a_memory(case):
    """A batch against the memory is the batch against what the memory holds."""
    memory = CrossBatchMemory(GPWLoss(case.weighting), 6, 70)
    held, held_labels = [], []
    for seed in range(3):
        x, labels = embed(33, seed, torch.float64)
        x.requires_grad_()
        found = memory(x, labels)
        held, held_labels = [*held, x.detach()], [*held_labels, labels]
        y, other = torch.cat(held)[-70:], torch.cat(held_labels)[-70:]
        place = torch.arange(len(y) - 33, len(y))
        expected = GPWLoss(case.weighting)(x, labels, None, y, other, place)
        same(
            gradients(found, [x], torch.ones((), dtype=torch.float64)),
            gradients(expected, [x], torch.ones((), dtype=torch.float64)),
        )


def test_a_loss_of_nothing_has_no_gradient():
    """Below every loss's own mean: no positives, no negatives, and one embedding."""
    arguments = {"RankedListLoss": {"margin": 0.4, "Tn": 5.0}}
    names = [name for name in losses.__all__ if name.endswith("Loss")]
    for name in set(names) - {"ColumnLoss", "GPWLoss", "PairSimilarityLoss", "SelfSupervisedLoss"}:
        loss = getattr(losses, name)(**arguments.get(name, {}))
        loss.pass_silently()
        for labels in (torch.arange(5), torch.zeros(5, dtype=torch.int64), torch.arange(1)):
            x = torch.randn(len(labels), 3, requires_grad=True)
            value = loss(x, labels)
            value.backward()
            assert torch.isfinite(value)
            assert torch.isfinite(x.grad).all()
            if value == 0:
                close(x.grad, torch.zeros_like(x))
