"""A tiny data set and network, and a short training in a trainer of PML."""

import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import common_functions as c_f
from torch.utils.data import TensorDataset


class TinyDataset(TensorDataset):
    """Eight classes of eight points around class centres; ``labels`` as PML's samplers want."""

    def __init__(self, seed=0, classes=8):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(8 * classes) // 8
        centres = torch.randn(classes, 10, generator=generator)
        points = centres[self.labels] + 0.7 * torch.randn(8 * classes, 10, generator=generator)
        super().__init__(points, self.labels)


def tiny_network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))


def train(loss, miner, hook=None):
    c_f.NUMPY_RANDOM.seed(0)
    dataset, trunk = TinyDataset(), tiny_network()
    history = []

    def end_of_iteration(t):
        history.append(t.losses["metric_loss"].item())
        if hook is not None:
            hook(t)

    MetricLossOnly(
        models={"trunk": trunk},
        optimizers={"trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=0.01)},
        batch_size=32,
        loss_funcs={"metric_loss": loss},
        mining_funcs={} if miner is None else {"tuple_miner": miner},
        dataset=dataset,
        sampler=MPerClassSampler(dataset.labels, 4, 32),
        dataloader_num_workers=0,
        iterations_per_epoch=20,
        end_of_iteration_hook=end_of_iteration,
    ).train()
    return history, [p.detach() for p in trunk.parameters()]
