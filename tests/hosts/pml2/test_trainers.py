"""Real trainers of PML and of Lightning, PML's wrappers and its logging around our objects."""

import sqlite3
import warnings

import lightning
import pytest
import torch
from pytorch_metric_learning.losses import (
    CrossBatchMemory,
    MultipleLosses,
    MultiSimilarityLoss,
    NTXentLoss,
)
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils import logging_presets
from torch.utils.data import DataLoader, TensorDataset

from pml_gpw import GPWLoss, MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.weightings import MultiSimilarity

from ...runs import close_runs
from ...tolerances import close
from .training import train


@pytest.mark.parametrize(
    "trainer", [MetricLossOnly, pytest.param(TrainWithClassifier, marks=pytest.mark.exhaustive)]
)
def test_a_training_equals_that_with_the_pair_of_pml(trainer):
    ours = train(MSWeightedLoss(), MSMiner(), trainer)
    whole = train(MSLoss(), None, trainer)
    theirs = train(MultiSimilarityLoss(), MultiSimilarityMiner(), trainer)
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
        close(ours(x + 0.1 * step, labels), theirs(x + 0.1 * step, labels))


PACKAGES = {"PML": (MultiSimilarityLoss, MultiSimilarityMiner), "ours": (MSWeightedLoss, MSMiner)}


class PlaceRecognition(lightning.LightningModule):
    """Like SALAD's: loss and miner are attributes, and the margin is a hyper-parameter."""

    def __init__(self, package="PML", miner_margin=0.1):
        super().__init__()
        self.save_hyperparameters()
        loss, miner = PACKAGES[package]
        self.network = torch.nn.Linear(6, 4)
        self.loss_fn = loss(alpha=1.0, beta=50, base=0.0)
        self.miner = miner(epsilon=miner_margin)

    def train_dataloader(self):
        x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
        return DataLoader(TensorDataset(x, torch.arange(40) // 4), batch_size=20)

    def training_step(self, batch, _):
        descriptors = self.network(batch[0])
        return self.loss_fn(descriptors, batch[1], self.miner(descriptors, batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trained_with", "loaded_in"),
    [("PML", "ours"), pytest.param("ours", "PML", marks=pytest.mark.exhaustive)],
)
def test_trained_with_one_and_loaded_in_the_other(tmp_path, trained_with, loaded_in):
    """By Lightning, strictly."""
    module = PlaceRecognition(trained_with, miner_margin=0.1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, **quiet)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = PlaceRecognition.load_from_checkpoint(
            tmp_path / "last.ckpt", package=loaded_in, miner_margin=0.3, strict=True
        )
    close(loaded.network.weight, module.network.weight)
    assert type(loaded.miner) is PACKAGES[loaded_in][1]
    assert loaded.miner.epsilon == loaded.hparams.miner_margin == 0.3
