"""A Lightning module like SALAD's: loss and miner as attributes, the margin a hyper-parameter."""

import warnings

import lightning
import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch.utils.data import DataLoader, TensorDataset

from pml_gpw import MSMiner, MSWeightedLoss

from ..tolerances import close

PACKAGES = {
    "PML": (MultiSimilarityLoss, MultiSimilarityMiner),
    "ours": (MSWeightedLoss, MSMiner),
}


class PlaceRecognition(lightning.LightningModule):
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
@pytest.mark.parametrize(("trained_with", "loaded_in"), [("PML", "ours"), ("ours", "PML")])
def test_trained_with_one_and_loaded_in_the_other(tmp_path, trained_with, loaded_in):
    torch.manual_seed(0)
    module = PlaceRecognition(trained_with, miner_margin=0.1)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
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
