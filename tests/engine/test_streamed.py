"""The streamed engine against the dense autograd twin, and that it never holds the matrix."""

import pytest
import torch
from pytorch_metric_learning.distances import DotProductSimilarity
from pytorch_metric_learning.reducers import DoNothingReducer
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from pml_gpw import GPWLoss, MSLoss
from pml_gpw.engine import (
    IndexPairs,
    LabelPairs,
    Plan,
    Walk,
    reference_losses,
    streamed_losses,
)
from pml_gpw.engine.label_pairs import label_masks
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ..cases import CASES
from ..tolerances import close

MININGS = [None, MSMining(0.0), MSMining(0.1), MSMining(0.7)]
UPSTREAMS = {
    "mean": lambda n: torch.full((n,), 1 / n),
    "sum": torch.ones,
    "per_anchor": lambda n: torch.linspace(-1, 2, n),
}


def embed(n, seed, dtype, per_class=4):
    """Loose clusters, so that mining keeps some pairs of some anchors; the last label is alone."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) // per_class
    centres = torch.randn(n, 6, generator=generator, dtype=torch.float64)[labels]
    x = centres + 0.6 * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    order = torch.randperm(n, generator=generator)
    return normalize(x, dim=1).to(dtype)[order], labels[order]


@pytest.fixture(params=["dense", "searched", "sparse"])
def layout(request):
    return request.param


def gradients(losses, leaves, upstream):
    return losses.detach(), *torch.autograd.grad(losses, leaves, upstream.to(losses.dtype))


def pairs_and_masks(labels, ref_labels, own, listed):
    """Candidates, and their masks; listed ones are every other pair, in disorder, some twice."""
    columns = torch.arange(len(labels)) if own else None
    masks = label_masks(labels, ref_labels, columns)
    if not listed:
        return LabelPairs(labels, ref_labels, columns, symmetric=own), masks
    some = (torch.arange(masks[0].numel()) % 2 == 0).view_as(masks[0])
    masks = tuple(mask & some for mask in masks)
    pairs = []
    for mask in masks:
        row, column = mask.nonzero(as_tuple=True)
        pairs.append((torch.cat([row.flip(0), row[:5]]), torch.cat([column.flip(0), column[:5]])))
    return IndexPairs(*pairs, tuple(masks[0].shape)), masks


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("own", [True, False], ids=["self", "references"])
@pytest.mark.parametrize("listed", [False, True], ids=["labelled", "listed"])
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equals_the_dense_reference(case, mining, own, listed, dtype, layout):
    x, labels = embed(33, 0, dtype)
    y, ref_labels = (x, labels) if own else embed(50, 1, dtype)
    x.requires_grad_()
    y = x if own else y.requires_grad_()
    leaves = [x] if own else [x, y]
    candidates, masks = pairs_and_masks(labels, ref_labels, own, listed)
    tolerance = None if dtype == torch.float64 else 2e-5
    sim = x @ y.T
    kept = masks if mining is None else mining(sim.detach(), *masks)
    expected = reference_losses(sim, *masks, case.weighting, mining)
    for name, make in UPSTREAMS.items():
        upstream = make(len(x))
        wanted = (
            expected.detach(),
            *torch.autograd.grad(expected, leaves, upstream.to(dtype), retain_graph=True),
        )
        for chunk_size in (1, 7, 33, 40):
            walk = Walk(x, y, candidates, mining, plan=Plan(chunk_size, layout))
            losses, num_pos, num_neg = streamed_losses(walk, case.weighting, name != "per_anchor")
            assert not num_pos.requires_grad
            assert not num_neg.requires_grad
            for a, b in zip(gradients(losses, leaves, upstream), wanted, strict=True):
                close(a, b, tolerance)
            if dtype == torch.float64:
                assert num_pos.tolist() == kept[0].sum(dim=1).tolist(), name
                assert num_neg.tolist() == kept[1].sum(dim=1).tolist(), name


HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("own", [True, False], ids=["self", "references"])
@pytest.mark.parametrize("mining", MININGS, ids=repr)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_half_precision(case, mining, own, dtype, layout):
    """The loss of half-precision embeddings is that of float64 to float32's rounding; gradients
    come back in half precision and are off by its last digit."""
    x, labels = embed(33, 0, dtype)
    y, ref_labels = (x, labels) if own else embed(50, 1, dtype)
    x.requires_grad_()
    columns = torch.arange(33) if own else None
    masks = label_masks(labels, ref_labels, columns)
    leaf = x.detach().double().requires_grad_()
    wide = normalize(leaf, dim=1)
    other = wide if own else normalize(y.double(), dim=1)
    expected = reference_losses(wide @ other.T, *masks, case.weighting, mining)
    references = {} if own else {"ref_emb": y, "ref_labels": ref_labels}
    for name, make in UPSTREAMS.items():
        upstream = make(33)
        for chunk_size in (1, 7, 33, 40):
            loss = GPWLoss(case.weighting, mining, chunk_size, reducer=DoNothingReducer())
            loss.layout = layout
            losses = loss(x, labels, **references)["loss"]["losses"]
            assert losses.dtype == torch.float32, name
            close(losses, expected, 2e-5)
            actual, wanted = (
                torch.autograd.grad(value, e, upstream.to(value.dtype), retain_graph=True)[0]
                for value, e in ((losses, x), (expected, leaf))
            )
            assert actual.dtype == dtype
            close(actual, wanted, torch.finfo(dtype).eps)


def test_references_without_gradient():
    x, labels = embed(20, 0, torch.float64)
    y, ref_labels = embed(30, 1, torch.float64)
    x.requires_grad_()
    free = y.clone().requires_grad_()

    def gradient(references):
        walk = Walk(x, references, LabelPairs(labels, ref_labels), plan=Plan(8))
        losses, _, _ = streamed_losses(walk, MultiSimilarity(), uniform_upstream=True)
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


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements that any operation returned and holds."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                held = value._nnz() if value.layout == torch.sparse_csr else value.numel()
                self.numel = max(self.numel, held)
        return result


@pytest.mark.parametrize("mining", [None, MSMining(0.1)], ids=repr)
@pytest.mark.parametrize("uniform", [True, False])
def test_the_matrix_is_never_held(mining, uniform):
    n, chunk_size = 400, 10
    x, labels = embed(n, 0, torch.float32)
    x.requires_grad_()
    loss = GPWLoss(MultiSimilarity(), mining, chunk_size=chunk_size, reducer=DoNothingReducer())
    with LargestTensor() as seen:
        losses = loss(x, labels)["loss"]["losses"]
        losses.backward(torch.ones(n) if uniform else torch.rand(n))
    assert seen.numel <= 2 * chunk_size * n
    with LargestTensor() as seen:
        MSLoss(chunk_size=n)(x, labels)
    assert seen.numel >= n * n, "the probe sees nothing"


def test_chunk_size_is_checked():
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match=f"chunk_size must be an integer > 0, got {wrong}"):
            MSLoss(chunk_size=wrong)


def test_double_backward_is_refused():
    x, labels = embed(12, 0, torch.float64)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(MSLoss()(x, labels), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()
