"""Several processes train as one; without a group, everything is for one."""

import os
import sys
import threading

import pytest
import torch
import torch.distributed as dist
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import nn

from pml_gpw import MSLoss, MSMiner, MSWeightedLoss
from pml_gpw.distributed import DistributedLoss
from pml_gpw.losses import CrossBatchMemory
from pml_gpw.training import ExhaustiveClassBatches, FileError, processes
from pml_gpw.training.processes import data_parallel, loss_over_processes, process_group


class Unsendable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


def check_read_by_first():
    assert processes.from_first({"rank": dist.get_rank()}) == {"rank": 0}
    assert (processes.world_size(), processes.is_first()) == (2, dist.get_rank() == 0)
    assert processes.read_by_first(dist.get_rank) == 0
    for error, kind in ((FileError, FileError), (Unsendable, RuntimeError)):

        def fails(error=error):
            raise error("damaged")

        with pytest.raises(kind, match="damaged"):
            processes.read_by_first(fails)


def check_the_sampler_takes_its_place():
    sampler = ExhaustiveClassBatches([0, 0, 1, 1], 4, per_class=2, batches=3)
    assert (sampler.rank, sampler.world_size) == (dist.get_rank(), 2)
    everyone = [None, None]
    dist.all_gather_object(everyone, [*sampler])
    whole = ExhaustiveClassBatches([0, 0, 1, 1], 4, per_class=2, batches=3, rank=0, world_size=1)
    assert [a + b for a, b in zip(*everyone, strict=True)] == [*whole]


def network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4))
    return nn.Sequential(*layers).double()


def check_a_step_is_that_of_one_process():
    alone, loss = network(), MSLoss()
    images, labels = torch.randn(8, 1, 4, 4, dtype=torch.float64), torch.arange(8) // 2
    loss(alone(images), labels).backward()
    share = slice(0, 4) if dist.get_rank() == 0 else slice(4, 8)
    model = data_parallel(network())
    _, over_all = loss_over_processes(None, MSLoss())
    over_all(model(images[share]), labels[share]).backward()
    for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-9)


def check_losses():
    miner, loss = loss_over_processes(MSMiner(), MSWeightedLoss())
    assert miner is None
    assert isinstance(loss, DistributedLoss)
    _, loss = loss_over_processes(None, CrossBatchMemory(MSWeightedLoss(), 4, 16))
    assert isinstance(loss, DistributedLoss)
    miner, loss = loss_over_processes(MultiSimilarityMiner(), MultiSimilarityLoss())
    names = type(miner).__name__, type(loss).__name__
    assert names == ("DistributedMinerWrapper", "DistributedLossWrapper")


CHECKS = [check_read_by_first, check_the_sampler_takes_its_place, check_losses]


@pytest.mark.parametrize("check", [*CHECKS, check_a_step_is_that_of_one_process])
def test_in_two_processes(pair, check):
    pair.run(__name__, check.__name__)


def test_without_a_group_everything_is_for_one():
    assert (processes.world_size(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.read_by_first(lambda: 3) == 3
    with pytest.raises(KeyError):
        processes.read_by_first(lambda: {}["x"])
    model = nn.BatchNorm2d(3)
    assert type(data_parallel(model)) is nn.BatchNorm2d


def test_devices_of_processes(monkeypatch):
    assert processes.launched_processes() == 1
    assert processes.local_device("cuda") == "cuda"
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert processes.launched_processes() == 4
    devices = {"cuda": "cuda:3", "cuda:1": "cuda:1", "cpu": "cpu"}
    assert {name: processes.local_device(name) for name in devices} == devices


def test_a_group_for_the_time_of_a_block(monkeypatch, tmp_path):
    """A world of one that torchrun would call two: the group is made, and ended after an error."""
    made, names = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **_: made.append(args))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: made.append("ended"))
    monkeypatch.setattr(processes, "is_first", lambda: False)
    stdout = sys.stdout

    def in_group():
        with process_group(torch.device("cpu")):
            names.append(sys.stdout.name)
            raise KeyError

    with pytest.raises(KeyError):
        in_group()
    assert names == [os.devnull]
    assert sys.stdout is stdout
    assert made == [("gloo",), "ended"]
