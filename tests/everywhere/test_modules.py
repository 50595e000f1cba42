"""The plain modules: their calls, values, options, wrappers and state."""

import inspect
from collections import namedtuple

import pytest
import torch

import pml_gpw
from pml_gpw import functional, modules
from pml_gpw.mining import BatchHardMining, MSMining, PairMarginMining
from pml_gpw.reductions import REDUCTIONS
from pml_gpw.weightings import LiftedStructure, MultiSimilarity

from ..runs import close_runs, pairs_of_tuple, run
from ..tolerances import close

EPSILON = 0.1
BATCH = torch.eye(4), torch.tensor([0, 0, 1, 1])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 6, generator=generator, dtype=torch.float64)
    return x, torch.arange(24) // 4


def test_a_plain_module_is_a_torch_module_alone():
    for name in modules.__all__:
        cls = getattr(modules, name)
        if inspect.isclass(cls):
            packages = {base.__module__.partition(".")[0] for base in cls.__mro__}
            assert packages == {"pml_gpw", "torch", "builtins"}, name


@pytest.mark.parametrize("reduction", sorted(REDUCTIONS))
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_options_are_those_of_the_function(batch, reduction, similarity):
    x, labels = batch
    options = {"reduction": reduction, "similarity": similarity}
    x = x / 3
    plain = modules.MSLoss(**options)(x, labels)
    close(plain, functional.ms_loss(x, labels, **options))
    assert plain.shape == (torch.Size([24]) if reduction == "none" else torch.Size([]))


MS, PLAIN = MultiSimilarity(), modules.MSLoss()
Namesake = type("MSMining", (torch.nn.Module,), {})
OTHER = torch.nn.Identity()
GIVE_MINING = r"mining must be a PairMining.*, got .*MSMiner: give its MSMining\(epsilon=0.2\)"
LOSS = "loss must take embeddings, labels, an index tuple, references and their labels, got"
CALLED = "must be an object that can be called, got .*: give"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        *(
            (lambda make=make, name=name: make(**{name: None}), f"{name} must not be .*pml-gpw.pml")
            for make in (modules.MSLoss, modules.MSMiner)
            for name in ("reducer", "distance", "collect_stats")
        ),
        (lambda: modules.MSLoss(reduction="median"), "reduction must be one of .*, got 'median'"),
        (lambda: modules.MSMiner(similarity="l2"), "similarity must be one of .*, got 'l2'"),
        (lambda: modules.GPWLoss(modules.MSLoss()), "got .*MSLoss: give its MultiSimilarity"),
        (lambda: modules.GPWLoss(MSMining()), r"got MSMining\(.*\) of pml_gpw.mining"),
        (lambda: modules.GPWLoss(MS, modules.MSMiner(0.2)), GIVE_MINING),
        (lambda: modules.PairMiner(modules.MSMiner(0.2)), GIVE_MINING),
        (lambda: functional.gpw_loss(*BATCH, MS, modules.MSMiner(0.2)), GIVE_MINING),
        (lambda: modules.PairMiner(Namesake()), "got tests.everywhere.*MSMining"),
        (lambda: modules.CrossBatchMemory(OTHER, 4), f"{LOSS} torch.nn.modules.linear.Identity"),
        (lambda: modules.CrossBatchMemory(modules.MSMiner(), 4), f"{LOSS} pml_gpw.*MSMiner"),
        (lambda: modules.CrossBatchMemory(MS, 4), rf"loss {CALLED} GPWLoss\(MultiSimilarity"),
        (lambda: modules.CrossBatchMemory(PLAIN, 4, miner=MS), f"miner {CALLED}"),
        (lambda: modules.SelfSupervisedLoss(OTHER), f"{LOSS} torch.nn.modules"),
        (lambda: modules.ColumnLoss(OTHER), "loss must be a GPWLoss without a relation, or a"),
        (lambda: modules.SelfSupervisedLoss(PLAIN)(BATCH[0], torch.eye(3)), "ref_emb must have"),
    ],
)
def test_what_is_refused_is_told_the_right_one(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# Wrappers of PML 3, which cannot be had here, by the call orders of its documentation.


def their_multiple_losses(losses, miners):
    def called(x, labels=None, pairs=None, ref_emb=None, ref_labels=None):
        given = ref_emb, ref_labels
        mined = [pairs if miner is None else miner(x, labels, pairs, *given) for miner in miners]
        return sum(f(x, labels, m, *given) for f, m in zip(losses, mined, strict=True))

    return called


class TheirMemory(torch.nn.Module):
    """A queue; own copies are left out by the candidates that the miner and the loss get."""

    def __init__(self, loss, miner):
        super().__init__()
        self.loss, self.miner = loss, miner
        self.held, self.labels = torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)

    def forward(self, x, labels):
        self.held = torch.cat([x.detach(), self.held])
        self.labels = torch.cat([labels, self.labels])
        pos = labels[:, None] == self.labels
        neg = ~pos
        pos.fill_diagonal_(False)
        pairs = PairIndices(*pos.nonzero(as_tuple=True), *neg.nonzero(as_tuple=True))
        if self.miner is not None:
            pairs = self.miner(x, labels, pairs, self.held, self.labels)
        return self.loss(x, labels, pairs, self.held, self.labels)


PairIndices = namedtuple("PairIndices", "pos_anchors positives neg_anchors negatives")


def test_a_miner_is_called_in_the_orders_of_both_releases(batch):
    x, labels = batch
    miner = modules.MSMiner(EPSILON)
    ref, ref_labels = x.flip(0)[:17], labels.flip(0)[:17]
    expected = miner(x, labels, ref_emb=ref, ref_labels=ref_labels)
    close_runs(miner(x, labels, ref, ref_labels), expected)
    close_runs(miner(x, labels, None, ref, ref_labels), expected)
    candidates = modules.PairMiner(PairMarginMining(0.8, 0.0))(x, labels, ref, ref_labels)
    narrowed = miner(x, labels, candidates, ref, ref_labels)
    close_runs(miner(x, labels, ref, ref_labels, indices_tuple=candidates), narrowed)
    close_runs(miner(x, labels, PairIndices(*candidates), ref, ref_labels), narrowed)
    close_runs(miner(x, None, candidates, ref), narrowed)
    before, after = pairs_of_tuple(candidates), pairs_of_tuple(narrowed)
    assert all(a <= b for a, b in zip(after, before, strict=True))
    assert after != before
    nowhere, other = torch.full((24,), -1), (x.flip(0), labels.flip(0))
    close_runs(miner(x, labels, *other, nowhere), miner(x, labels, *other, self_index=nowhere))
    for error, said, arguments, named in (
        (TypeError, "at most 5 arguments", (labels, ref, ref_labels, nowhere, None), {}),
        (TypeError, "several values for ref_emb", (labels, ref), {"ref_emb": ref}),
        (TypeError, "distance", (labels,), {"distance": ref}),
        (ValueError, "labels must be given", (None,), {}),
    ):
        with pytest.raises(error, match=said):
            miner(x, *arguments, **named)


def test_ways_to_say_pairs(batch):
    x, labels = batch
    rules = LiftedStructure(), BatchHardMining()
    ref, ref_labels = x.flip(0)[:9], labels.flip(0)[:9]
    listed = modules.MSMiner(0.5)(x, labels)
    for arguments, named in (
        ((labels,), {}),
        ((None, listed), {"indices_tuple": listed}),
        ((labels, None, ref, ref_labels), {"references": ref, "reference_labels": ref_labels}),
    ):
        function = run(functional.gpw_loss, x, arguments[0], *rules, **named)
        close_runs(run(modules.GPWLoss(*rules), x, *arguments), function)


def test_wrappers_of_release_3(batch):
    x, labels = batch
    loss, miner = modules.MSWeightedLoss(), modules.MSMiner(EPSILON)
    several = their_multiple_losses([loss, modules.GPWLoss(LiftedStructure())], [miner, None])
    other = run(modules.GPWLoss(LiftedStructure()), x, labels)
    ours = run(modules.MSLoss(epsilon=EPSILON), x, labels)
    close_runs(run(several, x, labels), [a + b for a, b in zip(ours, other, strict=True)])
    candidates = modules.PairMiner(PairMarginMining(0.8, 0.0))(x, labels)
    narrowed = run(loss, x, labels, miner(x, labels, candidates))
    close_runs(run(their_multiple_losses([loss], [miner]), x, labels, candidates), narrowed)


@pytest.mark.parametrize("miner", [None, modules.MSMiner(EPSILON)], ids=["all", "mined"])
def test_the_memory_of_release_3(batch, miner):
    """While nothing has gone out of the queues, both hold the same."""
    loss = modules.MSWeightedLoss()
    theirs, ours = TheirMemory(loss, miner), modules.CrossBatchMemory(loss, 6, 96, miner)
    for seed in range(4):
        x = torch.randn(24, 6, generator=torch.Generator().manual_seed(seed))
        close_runs(run(ours, x, batch[1]), run(theirs, x, batch[1]))


def test_no_pairs_are_said_once():
    loss = modules.MSLoss()
    x, labels = torch.rand(3, 2), torch.tensor([0, 0, 0])
    with pytest.warns(UserWarning, match="MSLoss: no pairs to weigh") as seen:
        values = [loss(x, labels), loss(x, labels)]
    assert values == [0, 0]
    assert len(seen) == 1


def test_names_of_the_package_are_called_as_the_plain_ones(batch):
    for plain, host in (
        (modules.MSLoss(), pml_gpw.MSLoss()),
        (modules.MSLoss(reduction="sum"), pml_gpw.MSLoss(reduction="sum")),
        (modules.MSLoss(similarity="dot"), pml_gpw.MSLoss(similarity="dot")),
    ):
        assert isinstance(host, type(plain))
        close_runs(run(plain, *batch), run(host, *batch))
    close_runs(modules.MSMiner()(*batch), pml_gpw.MSMiner()(*batch))


def test_the_losses_of_a_batch_are_the_weights_of_the_table(batch):
    x, labels = batch
    table = functional.pair_weights(x, labels, MultiSimilarity(), MSMining(EPSILON))
    unit = torch.nn.functional.normalize(x).requires_grad_()
    functional.ms_loss(unit, labels, epsilon=EPSILON, similarity="dot").backward()
    close(table.gradient @ unit.detach() + table.gradient.T @ unit.detach(), unit.grad)
    close(table.loss, float(modules.MSLoss(epsilon=EPSILON)(x, labels)))
    assert (table.weights[~table.mined] == 0).all()
    assert (table.gradient[table.positives] <= 0).all()
    without = functional.pair_weights(x, None, MultiSimilarity(), pairs=table.positives)
    assert without.labels is None
    assert without.summary()["total"] > 0
