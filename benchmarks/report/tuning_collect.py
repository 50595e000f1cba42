"""All of a tuning that is finished, as an export."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.rows import Row
from ..measure.search import space_of
from ..measure.tuning_plan import Tuning
from ..measure.tuning_runs import final_tests, finished_trials, kept
from .tuning_export import TEST_NUMBERS, TRIAL_NUMBERS, Export, typed


def collect(tuning: Tuning, folder: Path) -> Export:
    """The settings, the trials and the tests so far, from the files in ``folder``."""
    numbers = [*TRIAL_NUMBERS, *dict.fromkeys(n for row in tuning.searched for n in row.space)]
    folds = [f"fold_{number}" for number in range(tuning.folds)]
    trials = [line for row in tuning.searched for line in _trial_lines(row, tuning, folder)]
    tests = [line for row in tuning.rows.values() for line in _test_lines(row, tuning, folder)]
    return Export(
        tuning.settings,
        typed(pd.DataFrame(trials, columns=["row", *numbers, *folds, "failed", "space"])),
        typed(pd.DataFrame(tests, columns=["row", "parameters", *TEST_NUMBERS, "failed"])),
    )


def _trial_lines(row: Row, tuning: Tuning, folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "row": row.name,
            "trial": number,
            "map_at_r": trial.value,
            "cpu_seconds": trial.user_attrs.get("cpu_seconds"),
            "failed": trial.user_attrs.get("failed"),
            **{f"fold_{n}": v for n, v in enumerate(trial.user_attrs.get("folds", []))},
            **trial.params,
            "space": json.dumps({n: [r.low, r.high, r.log] for n, r in space_of(trial).items()}),
        }
        for number, trial in enumerate(finished_trials(row, tuning, folder))
    ]


def _test_lines(row: Row, tuning: Tuning, folder: Path) -> list[dict[str, Any]]:
    return [
        {"row": row.name, "parameters": test.kind, "seed": test.seed, **result}
        for test in final_tests(row, tuning, folder)
        if (result := kept(test)) is not None
    ]
