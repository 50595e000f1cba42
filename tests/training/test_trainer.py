"""Epochs that do not depend on what ran before them, and batches of one stream."""

from itertools import chain

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from pml_gpw import MSWeightedLoss
from pml_gpw.training import Experiment, Trainer, train_and_evaluate
from pml_gpw.training.experiment import SAMPLERS, epoch_seed

LABELS = [i // 7 for i in range(42)]


class Images(TensorDataset):
    """Items that remember that they were read, with random views if they are noisy."""

    def __init__(self, noise=0.0):
        self.labels, self.read, self.noise = LABELS, [], noise
        images = torch.rand(42, 3, generator=torch.Generator().manual_seed(0))
        super().__init__(images, torch.tensor(LABELS))

    def __getitem__(self, index):
        self.read.append(index)
        image, label = super().__getitem__(index)
        return image + self.noise * torch.rand(3), label


def trainer(dataset=None, random_views=False, **settings):
    options = {"batch": 20, "iterations": 7, "evaluate_every": 3, "seed": 4, "learning_rate": 0.01}
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    made = Trainer(
        Experiment(**{**options, **settings}),
        random_views=random_views,
        dataset=Images() if dataset is None else dataset,
        models={"trunk": model},
        optimizers={"trunk_optimizer": torch.optim.Adam(model.parameters(), lr=0.01)},
        loss_funcs={"metric_loss": MSWeightedLoss()},
        data_device=torch.device("cpu"),
    )
    if isinstance(made.dataset, Images):
        assert made.dataset.read, "a look at the labels"
        made.dataset.read.clear()
    return made


def trained(*epochs, **settings):
    """The trainer, and the images that it read."""
    one = trainer(**settings)
    for epoch in epochs:
        one.train_epoch(epoch)
    return one, one.dataset.read


def weights(one):
    return [p.detach().clone() for p in one.models["trunk"].parameters()]


@pytest.mark.parametrize("name", SAMPLERS)
def test_batches_are_one_stream_over_all_epochs(name):
    stream = SAMPLERS[name](LABELS, 20, per_class=5, batches=7, seed=epoch_seed(4, 0))
    expected = [*chain(*stream)]
    assert trained(1, 2, 3, sampler=name)[1] == expected
    assert trained(*range(1, 6), sampler=name, checkpoint_every=2)[1] == expected
    assert trained(3, sampler=name)[1] == expected[6 * 20 :]
    assert trained(2, 1, sampler=name)[1] == [*expected[60:120], *expected[:60]]
    assert trained(1, 2, 3, sampler=name, seed=5)[1] != expected


@pytest.mark.parametrize("random_views", [False, True])
def test_an_epoch_is_the_same_in_a_process_that_begins_with_it(random_views):
    """Dropout, views and batches; the states of model and optimizer are carried over."""

    def made(*epochs, **settings):
        return trained(*epochs, dataset=Images(random_views), random_views=random_views, **settings)

    (whole, _), (first, _), (second, _) = made(1, 2, 3), made(1, 2), made()
    for name in ("models", "optimizers"):
        for part, item in getattr(second, name).items():
            item.load_state_dict(getattr(first, name)[part].state_dict())
    torch.rand(5)
    second.train_epoch(3)
    assert all(map(torch.equal, weights(whole), weights(second)))
    assert whole.get_global_iteration() == second.get_global_iteration() == 6
    assert not all(map(torch.equal, weights(whole), weights(made(1, 2, 3, seed=5)[0])))


def test_train_is_all_epochs_with_the_hooks_of_pml():
    one, iterations, epochs = trainer(), [], []
    one.end_of_iteration_hook = lambda trainer: iterations.append(trainer.get_global_iteration())
    one.end_of_epoch_hook = lambda trainer: epochs.append(trainer.epoch)
    one.train()
    assert one.dataset.read == trained(1, 2, 3)[1]
    assert all(map(torch.equal, weights(one), weights(trained(1, 2, 3)[0])))
    assert (iterations, epochs) == ([*range(7)], [1, 2, 3])
    assert one.throughput()["images_per_second"] > 0


def labelled(labels, own=LABELS):
    """Items with the labels ``own``, and others that the data set says they have."""
    data = TensorDataset(torch.rand(len(own), 3), torch.as_tensor(own))
    data.labels = labels
    return data


SHUFFLED = [LABELS[i] for i in np.random.default_rng(0).permutation(42)]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (LABELS[:-7], "one for each of 42 items, got 35"),
        (LABELS + LABELS[-7:], "one for each of 42 items, got 49"),
        ([0, *LABELS[:-1]], "those of the items, got one .* 0 and 7, which have 0 and 1"),
        (torch.tensor(SHUFFLED), "those of the items"),
    ],
)
def test_labels_that_are_not_those_of_the_items(labels, said):
    """They are refused before the first step, where a sample of the items shows it."""
    with pytest.raises(ValueError, match=f"labels must be {said}"):
        trainer(labelled(labels))


def test_labels_by_which_the_items_are_known():
    """Numbers may differ, and labels of several numbers are not compared."""
    for own in ([9 - label for label in LABELS], [label // 2 for label in LABELS]):
        trainer(labelled(LABELS, own))
    several = torch.nn.functional.one_hot(torch.arange(42))
    assert trainer(labelled(LABELS, several)).dataset.tensors[1].shape == (42, 42)


def test_a_look_at_the_labels_draws_no_random_number():
    trainer(Images(noise=1.0))
    expected = torch.rand(1)
    torch.manual_seed(0)
    torch.nn.Linear(3, 2)
    assert torch.equal(torch.rand(1), expected)


class Items(list):
    labels = torch.arange(12) // 3


class OfWords(torch.nn.Embedding):
    def forward(self, items):
        letters = torch.tensor([ord(text[0]) for text in items["text"]])
        return super().forward(letters) + 0.01 * items["length"][:, None]


def test_any_item_that_a_loader_makes_batches_of_is_trained_on_and_evaluated():
    torch.manual_seed(0)
    words = ["abcd"[i // 3] * (i % 3 + 1) for i in range(12)]
    items = [{"text": word, "length": torch.tensor(len(word))} for word in words]
    data = Items(zip(items, Items.labels.tolist(), strict=True))
    experiment, model = Experiment(iterations=3, batch=6, per_class=3), OfWords(128, 4)
    result = train_and_evaluate(experiment, model, MSWeightedLoss(), data, data, ks=(1,))
    assert result["last"]["recall_at_1"] == 1.0, "words of a class begin alike"
