"""What every pair loss has in common: reducers, regularizers, a batch without pairs; and defects of
PML 2.9 that users must not meet again."""

import copy
import warnings

import pytest
import torch
from pytorch_metric_learning import reducers, regularizers
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch.torch_version import TorchVersion

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.losses import PairSimilarityLoss
from pml_gpw.mining import MSMining
from pml_gpw.weightings import MultiSimilarity

from ... import oracles
from ...runs import close_runs, run
from ...tolerances import close

WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 4.0])
REDUCERS = {
    "mean": (reducers.MeanReducer(), lambda v, y: v.mean()),
    "sum": (reducers.SumReducer(), lambda v, y: v.sum()),
    "avg_non_zero": (reducers.AvgNonZeroReducer(), lambda v, y: v[v > 0].mean()),
    "threshold": (reducers.ThresholdReducer(low=0.2), lambda v, y: v[v > 0.2].mean()),
    "class_weighted": (reducers.ClassWeightedReducer(WEIGHTS), lambda v, y: (v * (1.0 + y)).mean()),
    "divisor": (reducers.DivisorReducer(), lambda v, y: v.sum() / (v > 0).sum()),
    "per_anchor": (reducers.PerAnchorReducer(), lambda v, y: v.mean()),
    "multiple": (reducers.MultipleReducers({"loss": reducers.SumReducer()}), lambda v, y: v.sum()),
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
    theirs = run(MultiSimilarityLoss(**kwargs), *batch)
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


def test_one_positive_and_one_negative_pair_is_a_loss():
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    lone = tuple(torch.tensor([i]) for i in (0, 1, 0, 2))
    loss, gradient = run(MSWeightedLoss(reducer=None), x, None, lone)
    pos, neg = torch.tensor(-0.6).exp().log1p() / 2, torch.tensor(5.0).exp().log1p() / 50
    close(loss, (pos + neg) / 3)
    assert gradient.abs().sum() > 0
    assert MultiSimilarityLoss()(x, None, lone) == 0, "PML has mended it: drop this line"


def test_mining_and_loss_under_autocast_are_those_of_float32():
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) // 5
    expected = MSMiner()(x, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mined, theirs = MSMiner()(x, labels), MultiSimilarityMiner()(x, labels)
        loss = MSWeightedLoss()(x, labels, mined)
    close_runs(mined, expected)
    assert len(theirs[2]) != len(expected[2]), "the case no longer shows PML's rounding"
    assert loss.dtype == torch.float32
    close(loss, MSWeightedLoss()(x, labels, expected))


def test_a_clone_of_the_embeddings_has_no_self_pairs(batch):
    x, labels = batch
    for twin in (x.clone(), x.detach()):
        mined = MSMiner(5.0)(x, labels, twin, labels.clone())
        assert (mined[0] != mined[1]).all()
        close(MSLoss()(x, labels, ref_emb=twin, ref_labels=labels.clone()), MSLoss()(x, labels))
    theirs = MultiSimilarityMiner(5.0)(x, labels, x.clone(), labels.clone())
    assert (theirs[0] == theirs[1]).any(), "PML has mended it: drop this line"


@pytest.mark.filterwarnings("ignore")
def test_full_graph_compilation(batch, monkeypatch):
    if torch.__version__ < TorchVersion("2.10"):  # mined pairs are as many as the data give
        monkeypatch.setattr(torch._dynamo.config, "capture_dynamic_output_shape_ops", True)
    miner, loss = MSMiner(), MSWeightedLoss()

    def compiled(function):
        torch._dynamo.reset()
        return torch.compile(function, fullgraph=True, backend="aot_eager")

    def composed(e, y):
        return loss(e, y, miner(e, y))

    for function in (MSLoss(), composed):
        close_runs(run(compiled(function), *batch), run(function, *batch))
    close_runs(compiled(miner)(*batch), miner(*batch))


def test_statistics_follow_collect_stats_as_it_is_now(batch):
    for module, name in ((MSMiner(), "num_pos_pairs"), (MSLoss(), "num_neg_pairs")):
        module(*batch)
        assert module._record_these_stats == []
        module.collect_stats = True
        module(*batch)
        assert name in module._record_these_stats
        assert getattr(module, name) > 0
        assert copy.deepcopy(module)._record_these_stats == module._record_these_stats


def test_labels_beyond_float_precision_stay_apart():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    big = 2**24 + torch.tensor([0, 0, 1, 1])
    close(MSLoss()(x, big), MSLoss()(x, torch.tensor([0, 0, 1, 1])))


def test_nothing_warns_in_ordinary_use(batch, no_warnings):
    MSWeightedLoss()(*batch, MSMiner()(*batch))
