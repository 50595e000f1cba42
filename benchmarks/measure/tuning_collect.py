"""All of a tuning that is finished, as two tables."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.search_spaces import Row
from .studies import space_of
from .tuning_plan import TEST_NUMBERS, Tuning, typed
from .tuning_runs import kept, runs_of_tests, trials_of


def collect(tuning: Tuning, folder: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """The settings, the trials and the tests so far, from the files in ``folder``."""
    folds = [f"fold_{number}" for number in range(tuning.folds)]
    trials = pd.DataFrame(
        [line for row in tuning.searched for line in _trial_lines(row, tuning, folder)],
        columns=["row", *tuning.trial_numbers, *folds, "failed", "space"],
    )
    tests = pd.DataFrame(
        [line for row in tuning.rows for line in _test_lines(row, tuning, folder)],
        columns=["row", "parameters", *TEST_NUMBERS, "failed"],
    )
    return asdict(tuning), typed(trials), typed(tests)


def _trial_lines(row: Row, tuning: Tuning, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "row": row.name,
            "trial": trial.number,
            **{key: value for key, value in trial.user_attrs.items() if key != "folds"},
            **{f"fold_{n}": v for n, v in enumerate(trial.user_attrs.get("folds", []))},
            **trial.params,
            "space": json.dumps({n: [r.low, r.high, r.log] for n, r in space_of(trial).items()}),
        }
        for trial in trials_of(row, tuning, folder)
    ]


def _test_lines(row: str, tuning: Tuning, folder: Path) -> list[dict[str, Any]]:
    return [
        {"row": row, "parameters": kind, "seed": run.seed, **result}
        for kind, run in runs_of_tests(row, tuning, folder)
        if (result := kept(run)) is not None
    ]
