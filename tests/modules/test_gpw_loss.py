"""Users' own steps, gradients of first order alone, and pairs as batches, tuples and references."""

import pytest
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.reducers import DoNothingReducer, ThresholdReducer

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.arguments import pair_batch
from pml_gpw.engine.reduction import NONE
from pml_gpw.mining import DistanceWeightedMining, MSMining
from pml_gpw.value_checks import deferred_checks, eager_checks
from pml_gpw.weightings import MultiSimilarity

from ..runs import close_runs, run
from ..tolerances import close


def test_same_bits_every_time(batch):
    first, second = run(MSLoss(), *batch), run(MSLoss(), *batch)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


class WeighsAnchors(MSLoss):
    """A user's own first step, after which upstream gradients of anchors differ."""

    def anchor_losses(self, batch, reduction=NONE):
        found = super().anchor_losses(batch, reduction)
        return found._replace(losses=found.losses * torch.arange(len(found.losses)))


class Doubles(MSLoss):
    """A user's own second step."""

    def reduce(self, losses, batch):
        return 2 * super().reduce(losses, batch)


class OtherLabels(MSLoss):
    """A user's own ``compute_loss`` that passes other labels and fewer anchors on."""

    def compute_loss(self, embeddings, labels, indices_tuple, ref_emb, ref_labels):
        assert indices_tuple is None
        coarse = labels[:9] // 2
        return super().compute_loss(embeddings[:9], coarse, indices_tuple, embeddings[:9], coarse)


def hooked():
    """A hook weighs the losses of anchors below a mean."""
    loss = MSLoss()
    loss.reducer.register_forward_pre_hook(lambda _, args: (weighed(args[0]), *args[1:]))
    return loss


def with_methods(name):
    """A method of one object weighs the losses of anchors."""
    loss = MSLoss()
    original = getattr(loss, name)
    setattr(loss, name, lambda *args: weighed(original(*args)))
    return loss


def weighed(terms):
    each = terms["loss"]["losses"]
    return {"loss": {**terms["loss"], "losses": torch.arange(len(each)) * each}}


def weighed_by_hand(x, labels):
    return weighed(MSLoss(reducer=DoNothingReducer())(x, labels))["loss"]["losses"].mean()


@pytest.mark.parametrize("looks", [eager_checks, deferred_checks])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (WeighsAnchors(), weighed_by_hand),
        (hooked(), weighed_by_hand),
        (with_methods("terms_of"), weighed_by_hand),
        (with_methods("compute_loss"), weighed_by_hand),
        (Doubles(), lambda x, y: 2 * MSLoss()(x, y)),
        (OtherLabels(), lambda x, y: MSLoss()(x[:9], y[:9] // 2)),
    ],
    ids=["anchors", "hook", "terms", "compute_loss", "reduce", "other labels"],
)
def test_users_own_steps(batch, loss, expected, looks):
    """Gradients are right where upstream gradients are unequal, whether or not anybody looks."""
    wanted = run(expected, *batch)
    with looks():
        close_runs(run(loss, *batch), wanted)


def test_labels_changed_before_backward_looks_again(batch):
    x, labels = batch[0].requires_grad_(), batch[1].clone()
    value = MSLoss(reducer=ThresholdReducer(low=0))(x, labels)
    labels.zero_()
    with pytest.raises(RuntimeError, match="changed in place"):
        value.backward()
    labels = batch[1].clone()
    value = MSLoss()(x, labels)
    expected = run(MSLoss(), x.detach(), labels)
    labels.zero_()
    value.backward()
    close_runs((value.detach(), x.grad), expected)


@pytest.mark.parametrize("reducer", [None, ThresholdReducer(low=0)])
@pytest.mark.parametrize("distance", [None, LpDistance()])
def test_first_derivatives_with_a_graph(batch, reducer, distance):
    """create_graph gives the gradient; only its own gradient is refused."""
    x = batch[0].requires_grad_()
    value = MSLoss(reducer=reducer, distance=distance)(x, batch[1])
    (plain,) = torch.autograd.grad(value, x, retain_graph=True)
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    close(gradient, plain)
    with pytest.raises(RuntimeError, match="double backward is not supported"):
        gradient.sum().backward()


def test_both_names_of_the_place_of_copies(batch):
    places = torch.arange(12)
    for name in ("own", "self_index"):
        close(MSLoss()(*batch, ref_emb=batch[0], **{name: places}), MSLoss()(*batch))


def test_a_batch_of_pairs_in_place_of_arguments(batch):
    made = pair_batch(*batch)
    assert MSLoss()(made) == MSLoss()(*batch)
    close_runs(MSMiner()(made), MSMiner()(*batch))
    assert made.part(slice(None, 3)).pairs.shape == (3, 12)
    values = []
    for arguments in ((made,), batch):
        torch.manual_seed(0)
        values.append(GPWLoss(MultiSimilarity(), DistanceWeightedMining(6))(*arguments))
    assert values[0] == values[1]


@pytest.mark.parametrize("as_triplets", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("with_references", [False, True])
def test_tuples(batch, as_triplets, with_labels, with_references):
    x, labels = batch
    y = torch.randn(9, 6, generator=torch.Generator().manual_seed(5))
    references = (y, torch.arange(9) % 4) if with_references else (None, None)
    miner = miners.TripletMarginMiner() if as_triplets else miners.PairMarginMiner(0.2, 0.8)
    indices = miner(x, labels, *references)
    # references without their labels
    args = labels if with_labels else None, indices, references[0]
    close_runs(run(MSWeightedLoss(), x, *args), run(losses.MultiSimilarityLoss(), x, *args))


def test_own_mining_refines_a_tuple(batch):
    indices = miners.PairMarginMiner(0.2, 0.8)(*batch)
    pos, neg = (torch.zeros(12, 12, dtype=torch.bool) for _ in range(2))
    pos[indices[0], indices[1]], neg[indices[2], indices[3]] = True, True
    unit = torch.nn.functional.normalize(batch[0])
    pos, neg = MSMining(0.1)(unit @ unit.T, pos, neg)
    refined = (*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
    close_runs(run(MSLoss(), *batch, indices), run(MSWeightedLoss(), *batch, refined))


def test_references_without_labels_carry_those_of_the_anchors(batch):
    x, labels = batch
    other = x + 1
    close(MSLoss()(x, labels, ref_emb=other), MSLoss()(x, labels, ref_emb=other, ref_labels=labels))
