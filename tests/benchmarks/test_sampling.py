"""The batches and views of a training, in one process and shared among several."""

from itertools import chain

import numpy as np
import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler

from benchmarks import processes
from benchmarks.sampling import ClassBatches, NumberedBatches, SeededViews

LABELS = [i // 6 for i in range(60)]


def batches(make, monkeypatch, world, rank):
    monkeypatch.setattr(processes, "world", lambda: world)
    monkeypatch.setattr(processes, "rank", lambda: rank)
    np.random.seed(3)  # noqa: NPY002
    return [*make(LABELS, 30, 4)]


@pytest.mark.parametrize("make", [ClassBatches, NumberedBatches])
@pytest.mark.parametrize("world", [2, 3, 6])
def test_shares_are_whole_classes_and_together_the_batch(monkeypatch, make, world):
    whole = batches(make, monkeypatch, 1, 0)
    shares = [batches(make, monkeypatch, world, rank) for rank in range(world)]
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole
    for share in shares:
        for batch in share:
            indices = [item[0] if make is NumberedBatches else item for item in batch]
            labels = [LABELS[index] for index in indices]
            assert all(labels.count(label) == 5 for label in labels)


def test_one_process_draws_what_the_sampler_draws(monkeypatch):
    mine = batches(ClassBatches, monkeypatch, 1, 0)
    np.random.seed(3)  # noqa: NPY002
    assert [*chain(*mine)] == [int(i) for i in MPerClassSampler(LABELS, 5, 30, 120)]


class Noise(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index, torch.rand(3)


def test_a_view_depends_on_seed_epoch_and_place_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    views = SeededViews(Noise(), (0, 1))
    index, first = views[7, 100]
    assert index == 7
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(views[8, 100][1], first)
    for other in (
        views[7, 101],
        SeededViews(Noise(), (1, 1))[7, 100],
        SeededViews(Noise(), (0, 2))[7, 100],
    ):
        assert not torch.equal(other[1], first)
