"""Views depend on seed and place, and places on neither process nor interruption."""

from itertools import chain

import pytest
import torch
from torch.utils.data import DataLoader

from pml_gpw.training import NumberedBatches, SeededViews
from pml_gpw.training.experiment import SAMPLERS

from .test_loaders import sampler


class Noise(torch.utils.data.Dataset):
    def __getitem__(self, index):
        return index, torch.rand(3)


@pytest.mark.parametrize("rule", SAMPLERS)
@pytest.mark.parametrize("world", [2, 6])
def test_places_are_those_of_one_process(rule, world):
    whole = [*chain(*NumberedBatches(sampler(rule)))]
    assert [place for _, place in whole] == [*range(180)]
    assert [image for image, _ in whole] == [*chain(*sampler(rule))]
    shares = [NumberedBatches(sampler(rule, rank=rank, world_size=world)) for rank in range(world)]
    assert [*chain(*chain(*zip(*shares, strict=True)))] == whole


def test_places_go_on_after_an_interruption_and_in_the_next_epoch():
    whole = [*NumberedBatches(sampler())]
    again = sampler()
    again.load_state_dict(sampler().state_dict(batches_done=3))
    numbered = NumberedBatches(again)
    assert len(numbered) == 6
    assert [*numbered] == whole[3:]
    assert [place for _, place in chain(*numbered)] == [*range(180, 360)]


def test_a_view_depends_on_seed_epoch_and_place_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    views = SeededViews(Noise(), (0, 1))
    index, first = views[7, 100]
    assert index == 7
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(views[8, 100][1], first)
    for entropy, place in (((0, 1), 101), ((1, 1), 100), ((0, 2), 100)):
        assert not torch.equal(SeededViews(Noise(), entropy)[7, place][1], first)


def test_loading_processes_change_nothing():
    def views(workers):
        data = SeededViews(Noise(), (0,))
        batches = NumberedBatches(sampler())
        loader = DataLoader(data, batch_sampler=batches, num_workers=workers)
        return torch.cat([noise for _, noise in loader])

    assert torch.equal(views(0), views(1))
