"""Real PML trainers and their logging around our miners and losses."""

import sqlite3

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils import logging_presets

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import MultiSimilarity

from ..tolerances import close
from .training import train


@pytest.mark.parametrize("trainer", [MetricLossOnly, TrainWithClassifier])
def test_a_training_equals_that_with_the_pair_of_pml(trainer):
    ours = train(MSWeightedLoss(), MSMiner(), trainer)
    whole = train(MSLoss(), None, trainer)
    theirs = train(MultiSimilarityLoss(), MultiSimilarityMiner(), trainer)
    for other in (whole, theirs):
        close(torch.tensor(ours[0]), torch.tensor(other[0]), 1e-4)
        for a, b in zip(ours[1], other[1], strict=True):
            close(a, b, 1e-4)


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


def test_hooks_log_a_loss_with_trained_fields(tmp_path):
    """PML's hook looks into every dict of a loss."""
    loss = GPWLoss(MultiSimilarity(), trainable=("base", "alpha"))
    keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path / "csv"))
    keeper.update_records({"metric_loss": loss}, 1, recursive_types=[torch.nn.Module, dict])
    keeper.save_records()
    assert keeper.query("SELECT base FROM metric_loss_GPWLoss")[0]["base"] == 0.5
