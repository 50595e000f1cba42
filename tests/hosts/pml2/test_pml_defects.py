"""Defects of PML 2.9 that users must not meet again through our classes."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch.torch_version import TorchVersion

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss

from ...runs import close_runs, run
from ...tolerances import close


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
