"""The trials of a row: what to try next, and a file of what was tried.

What is tried next depends on the row and its earlier trials alone: it is drawn by a sampler that is
made and seeded anew for each trial. So a search that is killed and goes on tries what it would have
tried without that.
"""

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from ..data.faults import within
from ..data.search_spaces import Range, Row, Space

RANDOM_TRIALS = 10
"""How many trials are drawn at random before those that look at the earlier ones."""
WIDEN_EVERY = 10
"""After so many trials a range is widened whose edge the best value is near."""

Parameters = Mapping[str, float]


class Proposal(NamedTuple):
    """The parameters of a trial and the ranges from which they were drawn."""

    number: int
    parameters: Parameters
    space: Space


def proposal(row: Row, trials: Sequence[FrozenTrial]) -> Proposal:
    """The next trial of a row after its earlier ones. The first trial is of the defaults.

    Tree-structured Parzen estimators (Bergstra et al., 2011), each parameter on its own.
    """
    number, space = len(trials), space_after(row.space, trials)
    if number == 0 or not space:
        return Proposal(number, dict(row.defaults), space)
    sampler = TPESampler(
        seed=_seed(row.name, number), n_startup_trials=RANDOM_TRIALS, multivariate=False
    )
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.add_trials(trials)
    return Proposal(number, study.ask(_distributions(space)).params, space)


def space_after(space: Space, trials: Sequence[FrozenTrial]) -> Space:
    """The ranges after some trials: after every ten, widened where the best value is at an edge."""
    for end in range(WIDEN_EVERY, len(trials) + 1, WIDEN_EVERY):
        best = best_trial(trials[:end])
        if best is not None:
            space = {n: r.widened(r.edge_at(best.params[n])) for n, r in space.items()}
    return space


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The first trial of the highest objective; None where all have failed."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda t: (t.values[0], -t.number), default=None)


class TrialFile:
    """The finished trials of a row, in a SQLite database of Optuna.

    A trial is added in one transaction: it is there as a whole or not at all. What is interrupted
    leaves nothing.

    ``path`` may be opened by one process at a time. The study has the name of the row, so
    ``optuna-dashboard sqlite:///PATH`` and Optuna itself read it.
    """

    def __init__(self, path: Path, row: Row) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with within(path):
            self._study = _told(
                lambda: optuna.create_study(
                    storage=RDBStorage(f"sqlite:///{path}"),
                    study_name=row.name,
                    direction="maximize",
                    load_if_exists=True,
                )
            )

    def trials(self) -> list[FrozenTrial]:
        """All trials in order."""
        with within(self.path):
            return _told(lambda: self._study.get_trials())

    def add(self, tried: Proposal, outcome: Mapping[str, Any]) -> None:
        """Add a trial with its objective ``map_at_r``, or with the reason why it has ``failed``.

        All of ``outcome`` is kept as attributes of the trial.
        """
        failed = "failed" in outcome
        trial = create_trial(
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
            value=None if failed else outcome["map_at_r"],
            params=dict(tried.parameters),
            distributions=_distributions(tried.space),
            user_attrs=dict(outcome),
        )
        with within(self.path):
            _told(lambda: self._study.add_trial(trial))


def space_of(trial: FrozenTrial) -> dict[str, Range]:
    """The ranges from which a trial was drawn."""
    return {
        name: Range(d.low, d.high, d.log)
        for name, d in trial.distributions.items()
        if isinstance(d, FloatDistribution)
    }


def importances(trials: Sequence[FrozenTrial], space: Space) -> dict[str, float]:
    """The share of each hyper-parameter in the variance of the objective, by fANOVA.

    Optuna leaves out a parameter whose range has changed, so all trials are read as of the widest
    ``space``. Empty for fewer than two parameters or four complete trials, and where
    the objective does not vary.

    Source: Hutter, Hoos, Leyton-Brown, An efficient approach for assessing hyperparameter
    importance, 2014.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(space) < 2 or len(complete) < 4 or len({t.values[0] for t in complete}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    for trial in complete:
        widest = _distributions(space)
        study.add_trial(
            create_trial(value=trial.values[0], params=trial.params, distributions=widest)
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(found[name]) for name in space}


def trial_of(parameters: Parameters, space: Space, value: float | None, number: int) -> FrozenTrial:
    """A trial that was written down elsewhere."""
    trial = create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=dict(parameters),
        distributions=_distributions(space),
    )
    trial.number = number
    return trial


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {name: FloatDistribution(r.low, r.high, log=r.log) for name, r in space.items()}


def _seed(name: str, number: int) -> int:
    digest = hashlib.sha256(json.dumps([name, number]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _told(action: Any) -> Any:
    """The result of an action on a database, whose own errors are those of SQLite."""
    try:
        return action()
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sqlite3.Error):
            cause = getattr(cause, "orig", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from error
