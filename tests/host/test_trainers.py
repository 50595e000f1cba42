"""Real PML trainers, wrappers and logging around our miners and losses."""

import sqlite3

import pytest
import torch
from pytorch_metric_learning.losses import (
    CrossBatchMemory,
    MultipleLosses,
    MultiSimilarityLoss,
    NTXentLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils import logging_presets

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss, ms_variant
from pml_gpw.losses import VARIANTS, SelfSupervisedLoss
from pml_gpw.weightings import BinomialDeviance

from ..tolerances import close
from .tiny import TinyDataset, tiny_network


def train(loss, miner, trainer=MetricLossOnly, hook=None, iterations=20):
    c_f.NUMPY_RANDOM.seed(0)
    dataset, trunk = TinyDataset(), tiny_network()
    models, losses = {"trunk": trunk}, {"metric_loss": loss}
    optimizers = {"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=0.01)}
    if trainer is TrainWithClassifier:
        models["classifier"] = torch.nn.Linear(4, 8)
        losses["classifier_loss"] = torch.nn.CrossEntropyLoss()
        optimizers["classifier_optimizer"] = torch.optim.Adam(models["classifier"].parameters())
    history = []

    def end_of_iteration(t):
        history.append(t.losses["metric_loss"].item())
        if hook is not None:
            hook(t)

    trainer(
        models=models,
        optimizers=optimizers,
        batch_size=32,
        loss_funcs=losses,
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        dataset=dataset,
        sampler=MPerClassSampler(dataset.labels, 4, 32),
        dataloader_num_workers=0,
        iterations_per_epoch=iterations,
        end_of_iteration_hook=end_of_iteration,
    ).train()
    return history, [p.detach() for p in trunk.parameters()]


@pytest.mark.parametrize("trainer", [MetricLossOnly, TrainWithClassifier])
def test_a_training_equals_that_with_the_pair_of_pml(trainer):
    ours = train(MSWeightedLoss(), MSMiner(), trainer)
    whole = train(MSLoss(), None, trainer)
    theirs = train(MultiSimilarityLoss(), MultiSimilarityMiner(), trainer)
    for other in (whole, theirs):
        close(torch.tensor(ours[0]), torch.tensor(other[0]), 1e-4)
        for a, b in zip(ours[1], other[1], strict=True):
            close(a, b, 1e-4)


@pytest.mark.parametrize("letters", VARIANTS)
def test_every_variant_learns(letters):
    miner, loss = ms_variant(letters)
    history, _ = train(loss, miner, iterations=40)
    assert sum(history[-5:]) < sum(history[:5])


def test_statistics_and_hyper_parameters_are_logged(tmp_path):
    keeper, writer, _ = logging_presets.get_record_keeper(
        str(tmp_path / "csv"), str(tmp_path / "tensorboard")
    )
    hooks = logging_presets.get_hook_container(keeper, log_freq=5)
    train(
        MSWeightedLoss(collect_stats=True),
        MSMiner(collect_stats=True),
        hook=hooks.end_of_iteration_hook,
    )
    keeper.save_records()
    tables = {p.stem for p in (tmp_path / "csv").glob("*.csv")}
    assert {"metric_loss_MSWeightedLoss", "tuple_miner_MSMiner"} <= tables
    with sqlite3.connect(writer.local_db.db_path) as database:
        loss = database.execute(
            "SELECT alpha, beta, base, num_pos_pairs FROM metric_loss_MSWeightedLoss"
        ).fetchall()
        miner = database.execute(
            "SELECT epsilon, num_pos_pairs, num_neg_pairs FROM tuple_miner_MSMiner"
        ).fetchall()
    assert len(loss) == len(miner) == 4
    assert all(row[:3] == (2, 50, 0.5) for row in loss)
    assert all(row[0] == 0.1 and row[1] > 0 and row[2] > 0 for row in miner)
    assert [row[3] for row in loss] == [row[1] for row in miner]
    assert any((tmp_path / "tensorboard").iterdir())


def test_multiple_losses(batch):
    x, labels = batch
    both = MultipleLosses(
        [MSWeightedLoss(), NTXentLoss()], miners=[MSMiner(), None], weights=[2, 0.5]
    )
    expected = 2 * MSLoss()(x, labels) + 0.5 * NTXentLoss()(x, labels)
    close(both(x, labels), expected)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", [MSWeightedLoss(), GPWLoss(BinomialDeviance())])
def test_self_supervised(loss, symmetric):
    a, b = torch.randn(2, 6, 4).unbind()
    labels = torch.arange(6)
    actual = SelfSupervisedLoss(loss, symmetric=symmetric)(a, b)
    if symmetric:
        expected = loss(torch.cat([a, b]), labels.repeat(2))
    else:
        expected = loss(a, labels, ref_emb=b, ref_labels=labels)
    close(actual, expected)
    if isinstance(loss, MSWeightedLoss):
        theirs = SelfSupervisedLoss(MultiSimilarityLoss(), symmetric=symmetric)(a, b)
        close(actual, theirs)


def test_equal_views_are_still_each_others_positives():
    a = torch.randn(6, 4)
    ours = SelfSupervisedLoss(MSWeightedLoss(), symmetric=False)(a, a.clone())
    close(ours, SelfSupervisedLoss(MultiSimilarityLoss(), symmetric=False)(a, a.clone()))


def test_self_supervised_takes_any_subclass_and_refuses_other_classes():
    class Mine(MSLoss):
        pass

    SelfSupervisedLoss(Mine())
    with pytest.raises(Exception, match="not supported for Linear"):
        SelfSupervisedLoss(torch.nn.Linear(2, 2))


def test_memory_of_pml_takes_our_tuples(batch):
    """PML's queue hands over a tuple and references; a subclass lets our loss in by its name."""

    class Memory(CrossBatchMemory):
        @staticmethod
        def supported_losses():
            return ["MSWeightedLoss", "MultiSimilarityLoss"]

    x, labels = batch
    ours = Memory(MSWeightedLoss(), 6, memory_size=24, miner=MSMiner())
    theirs = Memory(MultiSimilarityLoss(), 6, memory_size=24, miner=MultiSimilarityMiner())
    for step in range(3):
        noisy = x + 0.1 * step
        close(ours(noisy, labels), theirs(noisy, labels))
