"""A tiny data set and network for PML's trainers and testers."""

import torch
from torch.utils.data import TensorDataset


class TinyDataset(TensorDataset):
    """Eight classes of eight points around class centres; ``labels`` as PML's samplers want."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(64) // 8
        centres = torch.randn(8, 10, generator=generator)
        points = centres[self.labels] + 0.7 * torch.randn(64, 10, generator=generator)
        super().__init__(points, self.labels)


def tiny_network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
