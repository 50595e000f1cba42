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

from pml_gpw.training import ClassBatches, ExhaustiveClassBatches, RandomClassBatches

RULES = [RandomClassBatches, ExhaustiveClassBatches]
SIZES = [6, 12, 7, 3, 5, 9, 1, 14, 8, 10]  # images of a class; K is 5
LABELS = np.random.default_rng(0).permutation(np.repeat(range(len(SIZES)), SIZES)).tolist()


def sampler(rule, labels=LABELS, batch_size=30, *, per_class=5, batches=4, **options):
    return rule(labels, batch_size, per_class=per_class, batches=batches, **options)


def classes_of(batch, labels=LABELS):
    return Counter(labels[image] for image in batch)


# --- both rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_batch_has_k_images_of_each_of_p_classes(rule):
    batches = [*sampler(rule, batches=50)]
    assert len(batches) == 50
    for batch in batches:
        assert all(type(image) is int for image in batch)
        assert sorted(classes_of(batch).values()) == [5] * 6
    assert {label for batch in batches for label in classes_of(batch)} == set(LABELS)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_shares_are_whole_classes_and_together_the_batch(rule, world):
    whole = [*sampler(rule, batches=20)]
    shares = [[*sampler(rule, batches=20, rank=r, world_size=world)] for r in range(world)]
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole
    for batch in chain(*shares):
        assert set(classes_of(batch).values()) == {5}


@pytest.mark.parametrize("rule", RULES)
def test_four_processes_draw_as_one(rule):
    whole = [*sampler(rule, batch_size=40)]
    shares = [[*sampler(rule, batch_size=40, rank=r, world_size=4)] for r in range(4)]
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole


@pytest.mark.parametrize("rule", RULES)
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


@pytest.mark.parametrize("rule", RULES)
def test_epochs_are_one_stream(rule):
    short = sampler(rule, batches=5)
    assert len(short) == 5
    assert [*short, *short, *short] == [*sampler(rule, batches=15)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("limit", [1, 3, 4, 5])
def test_an_iteration_begins_an_epoch_wherever_the_last_one_stopped(rule, workers, limit):
    """Loaders with worker processes draw ahead of a loop that stops early."""
    whole = [*sampler(rule, batches=20)]
    data = torch.arange(len(LABELS))
    loader = DataLoader(data, batch_sampler=sampler(rule, batches=5), num_workers=workers)
    epochs = [[batch.tolist() for batch in islice(loader, limit)] for _ in range(3)]
    assert epochs == [whole[start : start + limit] for start in (0, 5, 10)]
    assert [batch.tolist() for batch in loader] == whole[15:]


def test_two_iterations_at_once_do_not_disturb_each_other():
    whole, mine = [*sampler(RandomClassBatches, batches=8)], sampler(RandomClassBatches)
    first, second = iter(mine), iter(mine)
    assert next(first) == whole[0]
    assert [*zip(first, second, strict=False)] == [*zip(whole[1:4], whole[4:7], strict=True)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("workers", [0, 1])
def test_as_a_batch_sampler_of_a_loader(rule, workers):
    data = torch.arange(len(LABELS))
    loader = DataLoader(data, batch_sampler=sampler(rule), num_workers=workers)
    assert [batch.tolist() for batch in loader] == [*sampler(rule)]


def test_a_rule_that_ends():
    class Ends(ClassBatches):
        def draw(self):
            yield from [[0, 1], [0, 1]]

    with pytest.raises(ValueError, match="draw must give batches without an end, got no batch 2"):
        [*Ends([0, 0], 2, per_class=2, batches=3)]


def test_without_a_rule_there_is_no_sampler():
    with pytest.raises(TypeError, match="draw"):
        sampler(ClassBatches)


# --- drawn afresh --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 3, 2**32 - 1])
def test_the_fresh_rule_is_that_of_pml_to_the_number(seed):
    np.random.seed(seed)  # noqa: NPY002
    theirs = [int(i) for i in MPerClassSampler(LABELS, 5, 30, 120)]
    assert [*chain(*sampler(RandomClassBatches, seed=seed))] == theirs


# --- used up -------------------------------------------------------------------------------------


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


def test_a_fresh_draw_would_be_noticed():
    assert not used_up([*sampler(RandomClassBatches, batches=300)], LABELS, 5)


@pytest.mark.parametrize("n", [4, 6, 20])
def test_equal_classes_are_used_up_but_for_a_rest(n):
    labels = np.repeat(range(6), n)
    rounds = n // 4
    batches = [*sampler(ExhaustiveClassBatches, labels, 24, per_class=4, batches=3 * rounds)]
    for start in range(0, len(batches), rounds):
        images = [*chain(*batches[start : start + rounds])]
        assert len(set(images)) == len(images) == 6 * (n - n % 4)


def test_groups_are_cut_anew_in_each_round():
    labels = np.repeat(range(2), 8)
    batches = [*sampler(ExhaustiveClassBatches, labels, 8, per_class=4, batches=20)]
    groups = {frozenset(image for image in batch if image < 8) for batch in batches}
    assert len(groups) > 15  # of 20 draws out of 70


def test_who_sits_out_changes_from_round_to_round():
    labels = np.repeat(range(2), 5)
    drawn = Counter(chain(*sampler(ExhaustiveClassBatches, labels, 8, per_class=4, batches=2000)))
    counts = [drawn[image] for image in range(10)]
    assert min(counts) > 1500  # of 1,600 expected, with a standard deviation of 18
    assert max(counts) < 1700


@pytest.mark.parametrize("label", [3, 6])  # of 3 images and of 1
def test_small_classes_keep_all_their_images(label):
    own = {image for image in range(len(LABELS)) if LABELS[image] == label}
    again = Counter()
    for batch in sampler(ExhaustiveClassBatches, batches=400):
        mine = Counter(image for image in batch if LABELS[image] == label)
        assert mine.keys() in (own, set())
        again.update({image: count - 1 for image, count in mine.items()})
    assert again.keys() == own
    assert min(again.values()) > 0.7 * max(again.values())  # none of them is favoured


def test_fresh_draws_would_lose_images_of_small_classes():
    images = {image for image in range(len(LABELS)) if LABELS[image] == 3}
    drawn = [
        {image for image in batch if LABELS[image] == 3}
        for batch in sampler(RandomClassBatches, batches=100)
    ]
    assert any(0 < len(mine) < len(images) for mine in drawn)


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


# --- gone on with --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("done", [0, 1, 7, 10, 23])
def test_it_goes_on_in_the_middle_to_the_same_batches(rule, done):
    whole = [*sampler(rule, batches=40)]
    first, second = (sampler(rule, batches=10, seed=0) for _ in range(2))
    got = []
    while len(got) < done:
        got += [batch for batch, _ in zip(first, range(done - len(got)), strict=False)]
        first.load_state_dict(first.state_dict(batches_done=len(got)))
    state = pickle.loads(pickle.dumps(first.state_dict()))
    assert state["batches_done"] == done
    second.load_state_dict(state)
    rest = [*second]
    assert len(rest) == 10 - done % 10  # what is left of the epoch
    assert [*rest, *second] == whole[done : done + len(rest) + 10]


@pytest.mark.parametrize("rule", RULES)
def test_another_number_of_processes_goes_on(rule):
    whole = [*sampler(rule, batches=10)]
    one = sampler(rule, batches=10)
    assert next(iter(one)) == whole[0]
    shares = [sampler(rule, batches=10, rank=r, world_size=3) for r in range(3)]
    for share in shares:
        share.load_state_dict(one.state_dict())
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole[1:]


@pytest.mark.parametrize("rule", RULES)
def test_a_loader_that_draws_ahead_is_told_what_was_trained_on(rule):
    data, mine = torch.arange(len(LABELS)), sampler(rule, batches=10)
    loader = iter(DataLoader(data, batch_sampler=mine, num_workers=1))
    for _ in range(3):
        next(loader)
    assert mine.state_dict()["batches_done"] > 3
    again = sampler(rule, batches=10)
    again.load_state_dict(mine.state_dict(batches_done=3))
    assert [*again] == [*sampler(rule, batches=10)][3:]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_where_the_sampler_is(rule, copied):
    mine = sampler(rule)
    next(iter(mine))
    assert [*copied(mine)] == [*mine] == [*sampler(rule, batches=8)][4:]


def test_a_state_is_kept_by_torch(tmp_path):
    mine = sampler(ExhaustiveClassBatches)
    torch.save(mine.state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == mine.state_dict()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "state must be of the same seed, 0, got 1"),
        ({"seed": False}, "state must be of the same seed, 0, got False"),
        ({"rule": "RandomClassBatches"}, "same rule, 'ExhaustiveClassBatches', got 'Random"),
        ({"batch_size": 20}, "same batch_size, 30, got 20"),
        ({"per_class": 3}, "same per_class, 5, got 3"),
        ({"labels": "0" * 64}, "same labels, '"),
        ({"batches_done": -1}, "batches_done of state must be an integer >= 0, got -1"),
        ({"batches_done": 1.0}, "batches_done of state must be an integer >= 0, got 1.0"),
        ({"batches_done": None}, "batches_done of state must be an integer >= 0, got None"),
        ({"more": 1}, "state must have the entries batch_size, batches_done, labels, per_class"),
    ],
)
def test_a_state_of_something_else(change, said):
    mine = sampler(ExhaustiveClassBatches)
    state = {**sampler(ExhaustiveClassBatches).state_dict(batches_done=3), **change}
    with pytest.raises(ValueError, match="state") as error:
        mine.load_state_dict(state)
    assert said in str(error.value)
    assert [*mine] == [*sampler(ExhaustiveClassBatches)]


@pytest.mark.parametrize("state", [None, [], 3, {}, {"batches_done": 3}])
def test_no_state(state):
    with pytest.raises(ValueError, match="state must"):
        sampler(RandomClassBatches).load_state_dict(state)


def test_other_labels_have_another_state():
    state = sampler(RandomClassBatches).state_dict()
    with pytest.raises(ValueError, match="labels"):
        sampler(RandomClassBatches, LABELS[::-1]).load_state_dict(state)


@pytest.mark.parametrize("done", [-1, 1.5, "3", True])
def test_a_number_of_batches_that_cannot_be(done):
    with pytest.raises(ValueError, match="batches_done must be an integer >= 0"):
        sampler(RandomClassBatches).state_dict(batches_done=done)


# --- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size must be an integer > 0, got 0"),
        ({"batch_size": 30.0}, "batch_size must be an integer > 0, got 30.0"),
        ({"batch_size": 12}, "batch_size must be a multiple of 5 (per_class x world_size)"),
        ({"batch_size": 55}, "at most 50 (10 classes x 5), got 55"),
        ({"rank": 0, "world_size": 4}, "batch_size must be a multiple of 20"),
        ({"per_class": 0}, "per_class must be an integer > 0, got 0"),
        ({"batches": 0}, "batches must be an integer > 0, got 0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": 2**32}, "seed must be at most 4294967295, 2**32 - 1, got 4294967296"),
        ({"rank": 0}, "rank and world_size must both be given or neither, got 0 and None"),
        ({"world_size": 2}, "rank and world_size must both be given or neither, got None and 2"),
        ({"rank": 2, "world_size": 2}, "rank must be below world_size, 2, got 2"),
        ({"rank": -1, "world_size": 2}, "rank must be an integer >= 0, got -1"),
        ({"rank": 0, "world_size": 0}, "world_size must be an integer > 0, got 0"),
        ({"labels": []}, "labels must be integers (N,), at least one, got float64 (0,)"),
        ({"labels": [0.0, 1.0]}, "labels must be integers (N,), at least one, got float64 (2,)"),
        ({"labels": ["a", "b"]}, "labels must be integers (N,), at least one, got <U1 (2,)"),
        ({"labels": [[0], [1]]}, "labels must be integers (N,), at least one, got int64 (2, 1)"),
        ({"labels": [[0], [1, 2]]}, "labels must be integers (N,), got rows of different lengths"),
        ({"labels": None}, "labels must be integers (N,), at least one, got object ()"),
        ({"labels": [True, False]}, "labels must be integers (N,), at least one, got bool (2,)"),
        ({"labels": torch.zeros(2, dtype=torch.bfloat16)}, "at least one, got float64 (2,)"),
        ({"labels": torch.zeros(2, dtype=torch.int64, device="meta")}, "labels must hold values"),
        ({"labels": torch.zeros(2).to_sparse()}, "labels must be a dense tensor"),
    ],
)
def test_arguments_that_cannot_be(rule, options, said):
    with pytest.raises(ValueError, match="must") as error:
        sampler(rule, **options)
    assert said in str(error.value)
