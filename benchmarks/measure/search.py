"""The search for the hyper-parameters of a row: one study of Optuna, its trials one by one.

What is tried depends on the row and its earlier trials alone: the sampler is made and seeded anew
for each trial. So a search that is killed and goes on tries what it would have tried without that.
"""

import hashlib
import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from pml_gpw.weightings import Range

from ..data.faults import DivergedError, within
from ..data.rows import Row, Space

RANDOM_TRIALS = 10
"""How many trials are drawn at random before those that look at the earlier ones."""
WIDEN_EVERY = 10
"""After so many trials a range is widened whose edge the best value is near."""
EDGE = 0.02
"""The share of a range, at each end, that counts as its edge."""

Parameters = Mapping[str, float]
Score = Callable[[Parameters, int], float]
"""From parameters and the number of a fold to the objective."""


def open_study(folder: Path, row: Row) -> optuna.Study:
    """The study of a row, in a SQLite database of Optuna below ``folder``.

    It has the name of the row, so ``optuna-dashboard sqlite:///PATH`` and Optuna itself read it.
    """
    path = folder / f"{row.file_name}.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=RDBStorage(f"sqlite:///{path}"),
        study_name=row.name,
        direction="maximize",
        load_if_exists=True,
    )


@contextmanager
def database_errors(folder: Path) -> Iterator[None]:
    """Let errors of the databases below a folder be faults of it, as those of other files."""
    with within(folder):
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, sqlite3.Error):
                cause = getattr(cause, "orig", None) or cause.__cause__
            if cause is None:
                raise
            raise cause from error


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """The finished trials in order: complete, or failed for a reason, not cut off by a kill."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state == TrialState.COMPLETE or "failed" in trial.user_attrs
    ]


def add_trial(row: Row, study: optuna.Study, score: Score, folds: int) -> None:
    """Add one trial: of the defaults, then of random values, then of what Optuna proposes.

    Tree-structured Parzen estimators (Bergstra et al., 2011), each parameter on its own. The
    objective is the mean of the scores on the folds. A trial that a kill has cut off goes on with
    the folds that it has.
    """
    trials = trials_of(study)
    _take_up(study)
    if not trials and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        study.enqueue_trial(dict(row.defaults))
    study.sampler = TPESampler(
        seed=_seed(row.name, len(trials)), n_startup_trials=RANDOM_TRIALS, multivariate=False
    )
    objective = partial(_objective, space_after(row.space, trials), score, folds)
    study.optimize(objective, n_trials=1, catch=(DivergedError,))


def _take_up(study: optuna.Study) -> None:
    """Put a trial that was cut off before the next ones, with the folds that it has."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        attributes = trial.user_attrs
        if "folds" in attributes and "failed" not in attributes:  # else the same is drawn again
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def _objective(space: Space, score: Score, folds: int, trial: Trial) -> float:
    """The mean over the folds; what each took and gave is kept with the trial."""
    drawn = {n: trial.suggest_float(n, r.low, r.high, log=r.log) for n, r in space.items()}
    values: list[float] = [*trial.user_attrs.get("folds", [])]
    seconds: float = trial.user_attrs.get("cpu_seconds", 0.0)
    for fold in range(len(values), folds):
        began = time.process_time()
        try:
            values.append(score(drawn, fold))
        except DivergedError as error:
            trial.set_user_attr("failed", f"fold {fold}: {error}")
            raise
        finally:
            seconds += time.process_time() - began
            trial.set_user_attr("cpu_seconds", seconds)
        trial.set_user_attr("folds", values)
    return float(np.mean(values))


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The first trial of the highest objective; None where all have failed."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, key=lambda t: (t.values[0], -t.number), default=None)


def space_after(space: Space, trials: Sequence[FrozenTrial]) -> Space:
    """The ranges after some trials: after every ten, widened where the best value is at an edge."""
    for end in range(WIDEN_EVERY, len(trials) + 1, WIDEN_EVERY):
        best = best_trial(trials[:end])
        if best is not None:
            space = {n: widened(r, edge_at(r, best.params[n])) for n, r in space.items()}
    return space


def edge_at(limits: Range, value: float) -> str | None:
    """The end of a range that a value is near, "low" or "high", where the range can grow.

    >>> beta = Range(0.01, 300, log=True)
    >>> edge_at(beta, 295), edge_at(beta, 50)
    ('high', None)
    """
    low, high, at = (math.log(v) if limits.log else v for v in (limits.low, limits.high, value))
    place = (at - low) / (high - low)
    if place <= EDGE and limits.low > limits.least:
        return "low"
    if place >= 1 - EDGE and limits.high < limits.most:
        return "high"
    return None


def widened(limits: Range, edge: str | None) -> Range:
    """The range with one end moved out: by a factor of 10, or by half of its width.

    >>> widened(Range(0.01, 300, log=True), "high").high
    3000
    """
    step = (limits.high - limits.low) / 2
    if edge == "low":
        low = limits.low / 10 if limits.log else limits.low - step
        return replace(limits, low=max(low, limits.least))
    if edge == "high":
        high = limits.high * 10 if limits.log else limits.high + step
        return replace(limits, high=min(high, limits.most))
    return limits


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
    study.add_trials([trial_of(t.params, space, t.values[0], t.number) for t in complete])
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(found[name]) for name in space}


def trial_of(parameters: Parameters, space: Space, value: float | None, number: int) -> FrozenTrial:
    """A trial that was written down elsewhere."""
    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(r.low, r.high, log=r.log) for name, r in space.items()
    }
    trial = create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        params=dict(parameters),
        distributions=distributions,
    )
    trial.number = number
    return trial


def _seed(name: str, number: int) -> int:
    digest = hashlib.sha256(json.dumps([name, number]).encode()).digest()
    return int.from_bytes(digest[:4], "big")
