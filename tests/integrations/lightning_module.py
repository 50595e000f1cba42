"""A small LightningModule that measures itself; as a program it trains by torchrun and logs."""

import json
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from torch.utils.data import DataLoader, Subset, TensorDataset

from pml_gpw import MSLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.integrations.torchmetrics import RecallAtK, RetrievalMetrics
from pml_gpw.training import RandomClassBatches

KS = (1, 2, 4)


class Embedder(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8)
        self.network = torch.nn.Sequential(*layers)
        self.loss = DistributedLoss(MSLoss(trainable=("base",)))
        self.recall = RecallAtK(k=1)
        self.metrics = RetrievalMetrics(ks=KS)

    def train_dataloader(self):
        data = points()
        batches = RandomClassBatches(data.tensors[1], batch_size=16, per_class=4, batches=3)
        return DataLoader(data, batch_sampler=batches)

    def training_step(self, batch, _):
        return self.loss(self.network(batch[0]), batch[1])

    def val_dataloader(self):
        mine = range(self.trainer.global_rank, 48, self.trainer.world_size)
        return DataLoader(Subset(points(), mine), batch_size=9)

    def validation_step(self, batch, _):
        points, labels = batch
        embeddings = self.network(points)
        self.recall.update(embeddings, labels)
        self.log("recall", self.recall, on_epoch=True, on_step=False)
        self.metrics.update(embeddings, labels)

    def on_validation_epoch_end(self):
        self.log_dict(self.metrics.compute())
        self.metrics.reset()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.3)


def points():
    """48 points and their 8 classes."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(48) % 8
    turn = labels * torch.pi / 4 + 0.3 * torch.randn(48, generator=generator)
    return TensorDataset(torch.stack([turn.cos(), turn.sin()], dim=1), labels)


def trained(**options):
    module = Embedder()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options |= dict.fromkeys((*off, "use_distributed_sampler"), False)
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=2, **options)
    trainer.fit(module)
    return module, trainer


def logged_values(trainer):
    return {name: value.item() for name, value in trainer.logged_metrics.items()}


if __name__ == "__main__":
    module, trainer = trained(strategy="ddp", devices=2, plugins=[TorchElasticEnvironment()])
    if trainer.is_global_zero:
        torch.save(module.network.state_dict(), sys.argv[1] + ".pth")
        Path(sys.argv[1]).write_text(json.dumps(logged_values(trainer)), encoding="utf-8")
