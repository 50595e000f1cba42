"""A short training in a trainer of PML."""

import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils import common_functions as c_f

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
