from dataclasses import dataclass, replace

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
