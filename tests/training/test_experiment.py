from dataclasses import dataclass, replace

import pytest

from pml_gpw.training import Experiment


def test_epochs_end_at_evaluations_checkpoints_and_the_end():
    assert Experiment(iterations=10).stops == (10,)
    both = Experiment(iterations=20, evaluate_every=8, checkpoint_every=6)
    assert both.stops == (6, 8, 12, 16, 18, 20)
    assert [stop for stop in both.stops if both.evaluates_at(stop)] == [8, 16, 20]
    assert Experiment(iterations=8, evaluate_every=4).stops == (4, 8)


def test_settings_of_a_subclass_are_settings():
    @dataclass(frozen=True)
    class Mine(Experiment):
        width: int = 3

    assert Mine(width=4, seed=1).settings() == {**Mine(width=4).settings()}
    assert Mine().settings()["width"] == 3
    assert isinstance(replace(Mine(), milestones=(1000,)).shortened(30), Mine)
    assert replace(Mine(), milestones=(1000,)).shortened(30).milestones == (10,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iterations": 0}, "iterations must be an integer > 0, got 0"),
        ({"batch": 12}, "batch must be a multiple of per_class, 5, got 12"),
        ({"evaluate_every": 0}, "evaluate_every must be an integer > 0"),
        ({"checkpoint_every": 2.5}, "checkpoint_every must be an integer > 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number > 0"),
        ({"loss_learning_rate": -1.0}, "loss_learning_rate must be a finite number > 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0"),
        ({"milestones": [1]}, r"milestones must be a tuple of integers, got \[1\]"),
        ({"milestones": (0,)}, "every entry of milestones must be an integer > 0"),
        ({"sampler": "pml"}, "sampler must be one of exhaustive, random, got 'pml'"),
        ({"amp": 1}, "amp must be a bool, got 1"),
        ({"seed": 2**32}, "seed must be at most 4294967295"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**change)
