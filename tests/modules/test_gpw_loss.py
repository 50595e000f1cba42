"""What the constructor takes, users' own steps, what an object warns of, and the same bits."""

import pytest
import torch
from pytorch_metric_learning.reducers import DoNothingReducer, ThresholdReducer

from pml_gpw import GPWLoss, MSLoss, MSMiner
from pml_gpw.arguments import pair_batch
from pml_gpw.engine.reduction import NONE
from pml_gpw.mining import DistanceWeightedMining
from pml_gpw.value_checks import deferred_checks
from pml_gpw.weightings import MultiSimilarity, PairWeighting

from ..runs import close_runs, run
from ..tolerances import close


class NoDataclass(PairWeighting):
    def weigh(self, pos, neg):
        return pos.sim, neg.sim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ms",), "weighting must be a PairWeighting .*, got 'ms'"),
        (
            (NoDataclass(),),
            r"put @dataclass\(frozen=True\) above the class NoDataclass",
        ),
        ((MultiSimilarity(), 0.1), "mining must be a PairMining .*, got 0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GPWLoss(*arguments)


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


def weighed_by_hand(x, labels):
    losses = MSLoss(reducer=DoNothingReducer())(x, labels)["loss"]["losses"]
    return (losses * torch.arange(len(losses))).mean()


def test_users_own_steps(batch):
    close_runs(run(WeighsAnchors(), *batch), run(weighed_by_hand, *batch))
    close_runs(run(Doubles(), *batch), run(lambda x, y: 2 * MSLoss()(x, y), *batch))
    close_runs(run(OtherLabels(), *batch), run(lambda x, y: MSLoss()(x[:9], y[:9] // 2), *batch))


def test_a_method_of_an_instance_is_respected(batch):
    loss = MSLoss()
    original = loss.compute_loss

    def doubled(*args):
        terms = original(*args)
        terms["loss"]["losses"] = 2 * terms["loss"]["losses"]
        return terms

    loss.compute_loss = doubled
    close_runs(run(loss, *batch), run(lambda x, y: 2 * MSLoss()(x, y), *batch))


def test_a_hook_that_weighs_anchors_below_a_mean(batch):
    """On a CPU gradients are right even where upstream gradients were said to be equal."""
    loss = MSLoss()

    def weigh(_, args):
        terms, *rest = args
        weights = torch.arange(len(terms["loss"]["losses"]))
        terms["loss"]["losses"] = terms["loss"]["losses"] * weights
        return terms, *rest

    loss.reducer.register_forward_pre_hook(weigh)
    close_runs(run(loss, *batch), run(weighed_by_hand, *batch))


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


def test_first_derivatives_with_a_graph(batch):
    """create_graph gives the gradient; only its own gradient is refused."""
    x = batch[0].requires_grad_()
    for reducer in (None, ThresholdReducer(low=0)):
        value = MSLoss(reducer=reducer)(x, batch[1])
        (plain,) = torch.autograd.grad(value, x, retain_graph=True)
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        assert gradient.equal(plain)
        with pytest.raises(RuntimeError, match="double backward is not supported"):
            gradient.sum().backward()


def test_a_field_cannot_be_set_where_nothing_is_held():
    loss = MSLoss()
    loss.mining = None
    with pytest.raises(AttributeError, match=r"epsilon cannot be set: .*mining is None"):
        loss.epsilon = 0.2


def test_both_names_of_the_place_of_copies(batch):
    places = torch.arange(12)
    with pytest.raises(ValueError, match="own must be None beside self_index"):
        MSLoss()(*batch, ref_emb=batch[0], self_index=places, own=places)
    close(MSLoss()(*batch, ref_emb=batch[0], own=places), MSLoss()(*batch))


def test_a_batch_of_pairs_in_place_of_arguments(batch):
    made = pair_batch(*batch)
    assert MSLoss()(made) == MSLoss()(*batch)
    assert all(a.equal(b) for a, b in zip(MSMiner()(made), MSMiner()(*batch), strict=True))
    part = made.part(slice(None, 3))
    assert part.pairs.shape == (3, 12)
    torch.manual_seed(0)
    expected = GPWLoss(MultiSimilarity(), DistanceWeightedMining(6))(*batch)
    torch.manual_seed(0)
    assert GPWLoss(MultiSimilarity(), DistanceWeightedMining(6))(made) == expected


@pytest.mark.parametrize("how", ["hook of the reducer", "method of the object"])
def test_losses_that_somebody_changes_on_their_way(how):
    """Unequal upstream gradients, where nobody looks whether they are equal."""
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, labels, weight = x.requires_grad_(), torch.arange(12) // 3, torch.rand(12).double()
    loss = MSLoss()

    def weighted(terms):
        return {"loss": {**terms["loss"], "losses": weight * terms["loss"]["losses"]}}

    if how == "hook of the reducer":
        loss.reducer.register_forward_pre_hook(lambda _, args: (weighted(args[0]), *args[1:]))
    else:
        terms_of = loss.terms_of
        loss.terms_of = lambda *args: weighted(terms_of(*args))
    at_once = torch.autograd.grad(loss(x, labels), x)[0]
    with deferred_checks():
        close(torch.autograd.grad(loss(x, labels), x)[0], at_once)
