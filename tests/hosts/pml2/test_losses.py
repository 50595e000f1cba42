"""What every pair loss has in common: reducers, regularizers, and a batch without pairs."""

import warnings

import pytest
import torch
from pytorch_metric_learning import losses, reducers, regularizers

from pml_gpw import MSLoss, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ... import oracles
from ...runs import close_runs, run

WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0])
REDUCERS = {
    "mean": (reducers.MeanReducer(), lambda v, y: v.mean()),
    "sum": (reducers.SumReducer(), lambda v, y: v.sum()),
    "avg_non_zero": (reducers.AvgNonZeroReducer(), lambda v, y: v[v > 0].mean()),
    "threshold": (reducers.ThresholdReducer(low=0.2), lambda v, y: v[v > 0.2].mean()),
    "class_weighted": (reducers.ClassWeightedReducer(WEIGHTS), lambda v, y: (v * (1.0 + y)).mean()),
    "divisor": (reducers.DivisorReducer(), lambda v, y: v.sum() / (v > 0).sum()),
    "per_anchor": (reducers.PerAnchorReducer(), lambda v, y: v.mean()),
    "multiple": (
        reducers.MultipleReducers({"loss": reducers.SumReducer()}),
        lambda v, y: v.sum(),
    ),
}


@pytest.mark.parametrize("name", REDUCERS)
@pytest.mark.parametrize("collect_stats", [False, True])
def test_every_reducer(batch, name, collect_stats):
    """The value and the gradient are those of the reduction by hand."""
    x, labels = batch[0].double(), batch[1]
    reducer, reduced = REDUCERS[name]
    reducer.collect_stats = collect_stats
    masks = oracles.pairs_of(labels)

    def by_hand(x, labels):
        unit = torch.nn.functional.normalize(x)
        sim = unit @ unit.T
        mined = MSMining(0.1)(sim.detach(), *masks)
        return reduced(MultiSimilarity().losses(sim, *mined), labels)

    loss = MSLoss(reducer=reducer, collect_stats=collect_stats)
    close_runs(run(loss, x, labels), run(by_hand, x, labels))


def test_no_reduction(batch):
    terms = MSLoss(reducer=reducers.DoNothingReducer())(*batch)
    assert terms["loss"]["losses"].shape == (12,)
    assert terms["loss"]["reduction_type"] == "element"
    assert terms["loss"]["indices"].tolist() == list(range(12))


def test_embedding_regularizer(batch):
    kwargs = {"embedding_regularizer": regularizers.LpRegularizer(), "embedding_reg_weight": 0.3}
    theirs = run(losses.MultiSimilarityLoss(**kwargs), *batch)
    close_runs(run(MSWeightedLoss(**kwargs), *batch), theirs)


NOTHING = (torch.tensor([], dtype=torch.long),) * 4


@pytest.mark.parametrize(
    ("loss", "args", "reason"),
    [
        (PairSimilarityLoss(), (1, torch.arange(1), None, None), "neither labels nor"),
        (MSWeightedLoss(), (3, torch.arange(3) * 0, NOTHING, None), "the indices_tuple names none"),
        (MSLoss(), (3, torch.zeros(3).long(), None, None), "the mining keeps none"),
        (MSWeightedLoss(), (1, torch.arange(1), None, None), "the labels give none"),
        (MSWeightedLoss(), (0, torch.arange(0), None, None), "0 embeddings"),
        (MSWeightedLoss(), (3, torch.arange(3), None, torch.zeros(0, 5)), "0 references"),
    ],
)
def test_a_batch_without_pairs_is_zero_and_says_so_once(loss, args, reason):
    n, labels, indices, references = args
    x = torch.randn(n, 5, requires_grad=True)
    ref_labels = None if references is None else labels[: len(references)]

    def step():
        value = loss(x, labels, indices, references, ref_labels)
        value.backward()
        assert value == 0
        assert x.grad.eq(0).all()

    with pytest.warns(UserWarning, match=reason):
        step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()


def test_each_loss_object_warns_for_itself():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # Python's own choice: once per place
        for loss in (MSLoss(), MSLoss()):
            loss(torch.randn(1, 3), torch.tensor([0]))
            loss(torch.randn(1, 3), torch.tensor([0]))
    assert len(caught) == 2
