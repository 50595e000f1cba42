"""What a search tries, and how its ranges grow."""

from dataclasses import replace

import numpy as np
import optuna
import pytest

from benchmarks.data.faults import DivergedError
from benchmarks.data.rows import ROWS, Row
from benchmarks.measure import search
from benchmarks.measure.search import EDGE, WIDEN_EVERY, space_after, widened
from pml_gpw.weightings import Range


@pytest.mark.parametrize(
    ("limits", "value", "edge"),
    [
        (Range(0, 1), EDGE, "low"),
        (Range(0, 1), EDGE + 0.001, None),
        (Range(0, 1), 1 - EDGE, "high"),
        (Range(0, 1), 1 - EDGE - 0.001, None),
        (Range(0, 1, least=0), 0.0, None),
        (Range(0, 1, most=1), 1.0, None),
        (Range(0.01, 100, log=True), 0.01 * 10 ** (4 * 0.019), "low"),
        (Range(0.01, 100, log=True), 100 * 10 ** (-4 * 0.021), None),
    ],
)
def test_edges_are_the_outer_share_of_a_range_that_can_grow(limits, value, edge):
    assert search.edge_at(limits, value) == edge


def test_ranges_grow_within_their_limits():
    assert widened(Range(0, 1), "low") == Range(-0.5, 1)
    assert widened(Range(0, 1), "high") == Range(0, 1.5)
    assert widened(Range(0, 1, most=1.2), "high") == Range(0, 1.2, most=1.2)
    assert widened(Range(0.1, 10, log=True), "high") == Range(0.1, 100, log=True)
    assert widened(Range(0.1, 10, log=True), "low").low == pytest.approx(0.01)
    assert widened(Range(0, 1), None) == Range(0, 1)


def made_up(values, space, number=0):
    return [search.trial_of(p, space, v, number + n) for n, (p, v) in enumerate(values)]


def test_a_range_is_widened_where_the_best_value_is_at_its_edge():
    space = {"a": Range(0, 1), "b": Range(0.01, 100, log=True)}
    inside, edge = {"a": 0.5, "b": 1.0}, {"a": 0.99, "b": 1.0}
    nine = [(inside, 0.1)] * (WIDEN_EVERY - 1)
    assert space_after(space, made_up([*nine], space)) == space
    assert space_after(space, made_up([*nine, (inside, 0.2)], space)) == space
    assert space_after(space, made_up([*nine, (edge, None)], space)) == space, "it has failed"
    wider = {"a": Range(0, 1.5), "b": space["b"]}
    assert space_after(space, made_up([*nine, (edge, 0.2)], space)) == wider


def far_from(parameters, fold):
    """A score whose best values are a = 1 and b = 1."""
    return 1 - abs(parameters["a"] - 1) - 0.01 * fold


SPACE = {"a": Range(0, 1), "b": Range(0.01, 100, log=True)}
A_ROW = Row("a row", ROWS["N"].make, space=SPACE, defaults={"a": 0.5, "b": 1.0})


def searched(folder, row=A_ROW, trials=WIDEN_EVERY + 2, score=far_from):
    study = search.open_study(folder, row)
    while len(found := search.trials_of(study)) < trials:
        search.add_trial(row, study, score, folds=2)
    return [(trial.params, trial.value, trial.user_attrs.get("folds")) for trial in found]


def test_the_same_search_again_tries_the_same_and_one_of_another_name_another(tmp_path):
    first = searched(tmp_path / "one")
    assert first[0][0] == A_ROW.defaults
    assert first[0][2] == [0.5, 0.49]
    assert first[0][1] == pytest.approx(0.495)
    assert first[1] != searched(tmp_path / "one", replace(A_ROW, name="another"), 2)[1]
    one_by_one = [searched(tmp_path / "three", trials=n) for n in (1, 4, len(first))]
    assert one_by_one[-1] == first


@pytest.mark.exhaustive
def test_ranges_that_have_grown_are_searched(tmp_path):
    searched(tmp_path, trials=40, score=lambda parameters, fold: -abs(parameters["a"] - 3))
    found = search.trials_of(search.open_study(tmp_path, A_ROW))
    assert found[-1].distributions["a"].high > 1
    assert max(trial.params["a"] for trial in found) > 1


class KilledError(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize("at", [2, 21])
def test_a_search_that_is_cut_off_in_a_fold_goes_on_to_the_same(tmp_path, at):
    calls = []

    def score(parameters, fold):
        calls.append(fold)
        if len(calls) == at:
            patch.setattr(optuna.storages.RDBStorage, "set_trial_state_values", lambda *_, **__: 0)
            raise KilledError
        return far_from(parameters, fold)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        searched(tmp_path / "cut off", score=score)
    assert searched(tmp_path / "cut off", score=score) == searched(tmp_path / "whole")
    assert len(calls) == 1 + 2 * (WIDEN_EVERY + 2), "no fold is scored twice"


def test_a_trial_of_which_one_fold_fails_has_failed_and_says_why(tmp_path):
    def score(parameters, fold):
        if fold == 1:
            raise DivergedError("it was")
        return 0.5

    study = search.open_study(tmp_path, A_ROW)
    search.add_trial(A_ROW, study, score, folds=3)
    (failed,) = search.trials_of(study)
    assert failed.value is None
    assert failed.user_attrs["failed"] == "fold 1: it was"
    assert failed.user_attrs["folds"] == [0.5]
    search.add_trial(A_ROW, study, far_from, folds=3)
    assert len(search.trials_of(study)) == 2, "a failed trial is not taken up"


def test_importances_count_trials_of_all_ranges():
    narrow = {"a": Range(0, 1), "b": Range(0, 1)}
    wide = {"a": Range(0, 1), "b": Range(0, 2)}
    random = np.random.default_rng(0)
    trials = []
    for number, space in enumerate([narrow] * 15 + [wide] * 15):
        point = {name: float(random.uniform(r.low, r.high)) for name, r in space.items()}
        trials += made_up([(point, point["b"] ** 2)], space, number)
    found = search.importances(trials, wide)
    assert found.keys() == {"a", "b"}
    assert found["b"] > 0.9
    assert sum(found.values()) == pytest.approx(1)
    assert search.importances(trials[:3], wide) == {}
    alike = [({"a": 0.1, "b": x}, 0.5) for x in (0.1, 0.2, 0.3, 0.4)]
    assert search.importances(made_up(alike, wide), wide) == {}
