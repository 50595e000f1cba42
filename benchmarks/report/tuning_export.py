"""All that a tuning has found, in three files that need no database: what reports are made of.

``settings.json``; ``trials.csv``, a line for each trial: row, trial, the objective ``map_at_r``,
that of each fold, CPU seconds, why it has failed, the hyper-parameters and, as JSON, the ranges
from which they were drawn (low, high, whether logarithmic); ``tests.csv``, a line for each test:
row, parameters ("default" or "tuned"), seed, metrics, CPU seconds, why it has failed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from pml_gpw.training.file_errors import reading_file
from pml_gpw.weightings import Range

from ..data.presets import METRICS
from ..data.rows import ROWS, Row
from ..measure.search import trial_of
from .saving import save

TRIAL_NUMBERS = ["trial", "map_at_r", "cpu_seconds"]
TEST_NUMBERS = ["seed", *METRICS, "cpu_seconds"]
FILES = ("settings.json", "trials.csv", "tests.csv")
WORDS = ("row", "parameters", "failed", "space")


@dataclass(frozen=True)
class Export:
    """The settings and the two tables."""

    settings: dict[str, Any]
    trials: pd.DataFrame
    tests: pd.DataFrame

    @property
    def rows(self) -> dict[str, Row]:
        """The rows by name; of a user's, what the settings say of their hyper-parameters."""
        own = {
            name: Row(
                name,
                _not_here,
                space={key: Range(**limits) for key, limits in of["space"].items()},
                defaults=of["defaults"],
            )
            for name, of in self.settings.get("own_rows", {}).items()
        }
        return {name: own.get(name) or ROWS[name] for name in self.settings["rows"]}

    def trials_of(self, row: str) -> list[FrozenTrial]:
        """The trials of a row, as Optuna has them."""
        lines = self.trials[self.trials["row"] == row].to_dict("records")
        return [_trial(line) for line in lines]

    def write(self, folder: Path) -> None:
        """Write the three files."""
        text = json.dumps(self.settings, indent=1, ensure_ascii=False) + "\n"
        tables = [table.to_csv(index=False) for table in (self.trials, self.tests)]
        save(folder, dict(zip(FILES, (text, *tables), strict=True)))

    @classmethod
    def read(cls, folder: Path) -> "Export":
        """Read the three files; FileError where one is missing or not what it should be."""
        advice = "give a folder that benchmarks.tuning has written"
        settings, trials, tests = (folder / name for name in FILES)
        with reading_file(settings, advice):
            content = json.loads(settings.read_text(encoding="utf-8"))
            content["experiment"]["iterations"], content["rows"], content["trials"]
        tables = []
        for path, numbers in ((trials, TRIAL_NUMBERS), (tests, TEST_NUMBERS)):
            with reading_file(path, advice):
                # Words such as "none", the name of a row, stay words; numbers are read exactly.
                table = typed(pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""]))
                table[["row", *numbers]]
                tables.append(table)
        return cls(content, *tables)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Trials or tests with words as objects and all else as floats."""
    columns = {
        name: table[name].astype(object).where(table[name].notna(), None)
        if name in WORDS
        else table[name].map(float, na_action="ignore").astype(float)
        for name in table.columns
    }
    return pd.DataFrame(columns, columns=table.columns)


def _not_here(**_: float) -> Any:
    raise ValueError("an export does not hold the code of its rows")


def _trial(line: dict[str, Any]) -> FrozenTrial:
    space = {name: Range(*limits) for name, limits in json.loads(line["space"]).items()}
    value = None if pd.isna(line["map_at_r"]) else line["map_at_r"]
    return trial_of({name: line[name] for name in space}, space, value, int(line["trial"]))
