"""Real trainers of PML, its wrappers and logging around our objects."""

import sqlite3

import torch
from pytorch_metric_learning.losses import MultipleLosses, MultiSimilarityLoss, NTXentLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.utils import logging_presets

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import MultiSimilarity

from ...runs import close_runs
from ...tolerances import close
from .training import train


def test_a_training_equals_that_with_the_pair_of_pml():
    ours = train(MSWeightedLoss(), MSMiner())
    whole = train(MSLoss(), None)
    theirs = train(MultiSimilarityLoss(), MultiSimilarityMiner())
    for history, weights in (whole, theirs):
        close(torch.tensor(ours[0]), torch.tensor(history), 1e-4)
        close_runs(ours[1], weights, 1e-4)


def test_statistics_and_hyper_parameters_are_logged(tmp_path):
    keeper, writer, _ = logging_presets.get_record_keeper(
        str(tmp_path / "csv"), str(tmp_path / "tensorboard")
    )
    hook = logging_presets.get_hook_container(keeper, log_freq=5).end_of_iteration_hook
    train(MSWeightedLoss(collect_stats=True), MSMiner(collect_stats=True), hook=hook)
    keeper.save_records()
    with sqlite3.connect(writer.local_db.db_path) as database:
        loss, miner = (
            database.execute(f"SELECT {columns} FROM {table}").fetchall()
            for columns, table in (
                ("alpha, beta, base, num_pos_pairs", "metric_loss_MSWeightedLoss"),
                ("epsilon, num_pos_pairs, num_neg_pairs", "tuple_miner_MSMiner"),
            )
        )
    assert len(loss) == len(miner) == 4
    assert all(row[:3] == (2, 50, 0.5) for row in loss)
    assert all(row[0] == 0.1 and row[1] > 0 and row[2] > 0 for row in miner)
    assert [row[3] for row in loss] == [row[1] for row in miner]


def test_hooks_log_a_loss_with_trained_fields(tmp_path):
    """PML's hook looks into every dict of a loss."""
    loss = GPWLoss(MultiSimilarity(), trainable=("base", "alpha"))
    keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path / "csv"))
    keeper.update_records({"metric_loss": loss}, 1, recursive_types=[torch.nn.Module, dict])
    keeper.save_records()
    assert keeper.query("SELECT base FROM metric_loss_GPWLoss")[0]["base"] == 0.5


def test_several_losses_of_pml(batch):
    both = MultipleLosses(
        [MSWeightedLoss(), NTXentLoss()], miners=[MSMiner(), None], weights=[2, 0.5]
    )
    close(both(*batch), 2 * MSLoss()(*batch) + 0.5 * NTXentLoss()(*batch))
