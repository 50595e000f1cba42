"""The batches of a training: two rules, shared among processes, and gone on with anywhere."""

import copy
import pickle
from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import DataLoader

from pml_gpw.training import ExhaustiveClassBatches, RandomClassBatches

SIZES = [6, 12, 7, 3, 5, 4, 1, 14, 8, 10]  # images of a class; K is 5
LABELS = np.random.default_rng(0).permutation(np.repeat(range(len(SIZES)), SIZES)).tolist()
IMAGES = torch.arange(len(LABELS))


def sampler(rule, labels=LABELS, batch_size=30, *, per_class=5, batches=4, **options):
    return rule(labels, batch_size, per_class=per_class, batches=batches, **options)


def classes_of(batch, labels=LABELS):
    return Counter(labels[image] for image in batch)


@pytest.fixture(params=[RandomClassBatches, ExhaustiveClassBatches])
def rule(request):
    return request.param


def test_a_batch_has_k_images_of_each_of_p_classes(rule):
    batches = [*sampler(rule, batches=50)]
    assert len(batches) == 50
    for batch in batches:
        assert all(type(image) is int for image in batch)
        assert sorted(classes_of(batch).values()) == [5] * 6
    assert {label for batch in batches for label in classes_of(batch)} == set(LABELS)


@pytest.mark.parametrize(("world", "size"), [(1, 30), (3, 30), (6, 30), (4, 40)])
def test_shares_are_whole_classes_and_together_the_batch(rule, world, size):
    shares = [[*sampler(rule, batch_size=size, rank=r, world_size=world)] for r in range(world)]
    together = [[*chain(*parts)] for parts in zip(*shares, strict=True)]
    assert together == [*sampler(rule, batch_size=size)]
    assert {len(classes_of(batch)) for batch in chain(*shares)} == {size // 5 // world}


def test_the_seed_alone_decides(rule):
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    before = torch.random.get_rng_state()
    first = [*sampler(rule, seed=3)]
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), before)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert [*sampler(rule, seed=3)] == first
    assert [*sampler(rule, seed=4)] != first
    for labels in (np.array(LABELS), torch.tensor(LABELS), torch.tensor(LABELS, dtype=torch.int32)):
        assert [*sampler(rule, labels, seed=3)] == first


@pytest.mark.parametrize(("workers", "limit"), [(0, 3), (0, 5), (1, 1), (1, 4), (1, 5)])
def test_an_iteration_begins_an_epoch_wherever_the_last_one_stopped(rule, workers, limit):
    """Loaders with worker processes draw ahead of a loop that stops early."""
    whole = [*sampler(rule, batches=20)]
    mine = sampler(rule, batches=5)
    assert len(mine) == 5
    loader = DataLoader(IMAGES, batch_sampler=mine, num_workers=workers)
    epochs = [[batch.tolist() for batch in islice(loader, limit)] for _ in range(3)]
    assert epochs == [whole[start : start + limit] for start in (0, 5, 10)]
    assert [batch.tolist() for batch in loader] == whole[15:]


def test_two_iterations_at_once_do_not_disturb_each_other():
    whole, mine = [*sampler(RandomClassBatches, batches=8)], sampler(RandomClassBatches)
    first, second = iter(mine), iter(mine)
    assert next(first) == whole[0]
    assert [*zip(first, second, strict=False)] == [*zip(whole[1:4], whole[4:7], strict=True)]


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1])
def test_the_fresh_rule_is_that_of_pml_to_the_number(seed):
    np.random.seed(seed)  # noqa: NPY002
    theirs = [int(i) for i in MPerClassSampler(LABELS, 5, 30, 120)]
    assert [*chain(*sampler(RandomClassBatches, seed=seed))] == theirs


def used_up(batches, labels, per_class):
    """Whether no group of a class is drawn twice in a round, and no image of a class of n >= K.

    A round ends when fewer classes than a batch takes have groups left.
    """
    groups = {label: max(1, n // per_class) for label, n in Counter(labels).items()}
    left, seen = Counter(groups), set()
    for batch in batches:
        drawn = classes_of(batch, labels)
        if sum(count > 0 for count in left.values()) < len(drawn):
            left, seen = Counter(groups), set()
        left.subtract(drawn.keys())
        if min(left.values()) < 0 or seen & set(batch):
            return False
        seen.update(batch)
        small = [label for label in drawn if labels.count(label) < per_class]
        if len(set(batch)) < len(batch) and not small:
            return False
    return True


def test_every_image_comes_once_before_any_comes_twice():
    assert used_up([*sampler(ExhaustiveClassBatches, batches=300)], LABELS, 5)
    assert not used_up([*sampler(RandomClassBatches, batches=300)], LABELS, 5)


def test_groups_are_cut_anew_in_each_round_and_another_image_sits_out():
    labels = np.repeat(range(2), 9)
    batches = [*sampler(ExhaustiveClassBatches, labels, 8, per_class=4, batches=2000)]
    groups = {frozenset(image for image in batch if image < 9) for batch in batches}
    assert len(groups) == 126  # 4 of 9
    counts = Counter(chain(*batches)).values()  # 889 expected, with a standard deviation of 10
    assert len(counts) == 18
    assert 840 < min(counts) < max(counts) < 940


@pytest.mark.parametrize("label", [3, 5, 6])  # of 3 images, of 4 and of 1
def test_small_classes_keep_all_their_images(label):
    own = {image for image in range(len(LABELS)) if LABELS[image] == label}
    again = Counter()
    for batch in sampler(ExhaustiveClassBatches, batches=1500):
        mine = Counter(image for image in batch if LABELS[image] == label)
        assert mine.keys() in (own, set())
        again.update({image: count - 1 for image, count in mine.items()})
    assert again.keys() == own
    assert min(again.values()) > 0.7 * max(again.values())  # none of them is favoured


def test_classes_of_a_batch_are_drawn_evenly():
    labels = np.repeat(range(8), 4)
    first = Counter()
    for seed in range(1000):
        (batch,) = sampler(ExhaustiveClassBatches, labels, 8, per_class=4, batches=1, seed=seed)
        first.update(classes_of(batch, labels.tolist()).keys())
    assert all(abs(first[label] - 250) < 60 for label in range(8))  # 4.4 standard deviations


@pytest.mark.parametrize(
    ("rule", "deviation"), [(RandomClassBatches, 7.0), (ExhaustiveClassBatches, 1.8)]
)
def test_how_often_images_of_cub_are_drawn(rule, deviation):
    sizes = np.random.default_rng(0).integers(50, 64, 100)
    labels = np.repeat(range(100), sizes)
    batches = sampler(rule, labels, 80, batches=3000)
    drawn = np.bincount([*chain(*batches)], minlength=len(labels))
    assert drawn.mean() == pytest.approx(42.3, abs=0.1)
    assert drawn.std() == pytest.approx(deviation, abs=0.2)


@pytest.mark.parametrize("done", [0, 7, 10, 23])
def test_it_goes_on_in_the_middle_to_the_same_batches(rule, done):
    whole = [*sampler(rule, batches=40)]
    first, second = (sampler(rule, batches=10, seed=0) for _ in range(2))
    got = []
    while len(got) < done:
        got += [batch for batch, _ in zip(first, range(done - len(got)), strict=False)]
        first.load_state_dict(first.state_dict(batches_done=len(got)))
    state = first.state_dict()
    assert state["batches_done"] == done
    second.load_state_dict(state)
    rest = [*second]
    assert len(rest) == 10 - done % 10  # what is left of the epoch
    assert [*rest, *second] == whole[done : done + len(rest) + 10]


def test_another_number_of_processes_goes_on(rule):
    whole = [*sampler(rule, batches=10)]
    one = sampler(rule, batches=10)
    assert next(iter(one)) == whole[0]
    shares = [sampler(rule, batches=10, rank=r, world_size=3) for r in range(3)]
    for share in shares:
        share.load_state_dict(one.state_dict())
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole[1:]


def test_a_loader_that_draws_ahead_is_told_what_was_trained_on(rule):
    mine = sampler(rule, batches=10)
    loader = iter(DataLoader(IMAGES, batch_sampler=mine, num_workers=1))
    for _ in range(3):
        next(loader)
    assert mine.state_dict()["batches_done"] > 3
    again = sampler(rule, batches=10)
    again.load_state_dict(mine.state_dict(batches_done=3))
    assert [*again] == [*sampler(rule, batches=10)][3:]


def test_a_copy_goes_on_where_the_sampler_is(rule, tmp_path):
    mine = sampler(rule)
    next(iter(mine))
    torch.save(mine.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == mine.state_dict()
    copied = copy.deepcopy(pickle.loads(pickle.dumps(mine)))
    assert copied.state_dict() == mine.state_dict()
    assert [*copied] == [*mine] == [*sampler(rule, batches=8)][4:]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "state must be of the same seed, 0, got 1"),
        ({"seed": False}, "state must be of the same seed, 0, got False"),
        ({"rule": "RandomClassBatches"}, "same rule, 'ExhaustiveClassBatches', got 'Random"),
        ({"batch_size": 20}, "same batch_size, 30, got 20"),
        ({"per_class": 3}, "same per_class, 5, got 3"),
        (sampler(ExhaustiveClassBatches, LABELS[::-1]).state_dict(), "same labels, '"),
        ({"batches_done": -1}, "batches_done of state must be an integer >= 0, got -1"),
        ({"batches_done": 1.0}, "batches_done of state must be an integer >= 0, got 1.0"),
        ({"more": 1}, "state must have the entries batch_size, batches_done, labels, per_class"),
    ],
)
def test_a_state_of_something_else_changes_nothing(change, said):
    mine = sampler(ExhaustiveClassBatches)
    state = {**sampler(ExhaustiveClassBatches).state_dict(batches_done=3), **change}
    with pytest.raises(ValueError, match=said):
        mine.load_state_dict(state)
    assert [*mine] == [*sampler(ExhaustiveClassBatches)]
