"""What a tuning is made of: its settings, and single trainings."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..data.presets import INITIALS, METRICS, BenchmarkExperiment, preset
from ..data.search_spaces import CONTROL, CONTROLLED, EVERY_ROW, ROWS, Row
from .studies import Parameters

PARAMETERS = list(dict.fromkeys(name for row in ROWS.values() for name in row.space))
TRIAL_NUMBERS = ["trial", "map_at_r", "cpu_seconds", *PARAMETERS]
TEST_NUMBERS = ["seed", *METRICS, "cpu_seconds"]
WORDS = ("row", "parameters", "failed", "space")
FOLDS = 4
NAMES = (*ROWS, CONTROL)
EVERY_NAME = (*NAMES, *(name for name in EVERY_ROW if name not in ROWS))
TEST = -1
"""Stands for the number of a fold: train on all training classes and score the test classes."""

Result = dict[str, Any]
"""The metrics of a run and its ``cpu_seconds``, or the reason why it has ``failed``."""


@dataclass(frozen=True)
class Tuning:
    """All settings of a tuning.

    ``experiment`` is that of a fold of a trial; a test differs in its ``test_iterations``.
    ``initial``: "random", the initial weights of the experiment, or "classifier": those of a
    network that has first learned to tell the training classes apart.
    """

    experiment: BenchmarkExperiment
    initial: str
    folds: int
    test_iterations: int
    rows: tuple[str, ...]
    trials: int
    seeds: int

    @property
    def test(self) -> BenchmarkExperiment:
        """The experiment of a test."""
        return self.experiment.shortened(self.test_iterations)

    @property
    def searched(self) -> list[Row]:
        """The rows that are tuned: of the control, the one that it controls."""
        names = [CONTROLLED if name == CONTROL else name for name in self.rows]
        return [EVERY_ROW[name] for name in dict.fromkeys(names)]

    @property
    def trial_numbers(self) -> list[str]:
        """The columns of its trials that are numbers."""
        names = (name for row in self.searched for name in row.space)
        return list(dict.fromkeys((*TRIAL_NUMBERS, *names)))

    def budget(self, row: Row) -> int:
        """The trials of a row: one, where there is nothing to tune."""
        return self.trials if row.space else 1

    @property
    def identity(self) -> dict[str, Any]:
        """All that trials depend on beside the row."""
        return {**self.experiment.settings(), "initial": self.initial, "folds": self.folds}

    @property
    def trials_name(self) -> str:
        """A readable name for the trials. Others settings that are not as usual are a digest."""
        one = self.experiment
        plain = preset(one.dataset, one.configuration)
        parts = [one.dataset.lower(), f"{one.iterations}it"]
        parts += [one.configuration] * (one.configuration != "small")
        parts += [f"batch{one.batch}"] * (one.batch != plain.batch)
        parts += [f"{one.dims}d"] * (one.dims != plain.dims)
        parts += [f"lr{one.learning_rate:g}"] * (one.learning_rate != plain.learning_rate)
        parts += [one.backbone.replace("/", "-")] * (one.backbone != plain.backbone)
        parts += [one.weights.replace(":", "-")] * (one.weights != plain.weights)
        parts += [self.initial] * (self.initial != INITIALS[0])
        parts += [f"{self.folds}folds"] * (self.folds != FOLDS)
        return "-".join(parts)

    @property
    def name(self) -> str:
        """Names the report."""
        parts = [f"tuning-{self.trials_name}-{self.trials}trials"]
        parts += [f"{self.test_iterations}it-{self.seeds}seeds"]
        if self.rows != NAMES:
            parts += ["only", *(self.rows if len(self.rows) <= 4 else [_digest(self.rows)])]
        return "-".join(parts).replace(" ", "-")


@dataclass(frozen=True)
class Run:
    """One training: a row with parameters, on a fold or for the test, with a seed."""

    row: str
    parameters: Parameters
    experiment: BenchmarkExperiment
    initial: str
    fold: int
    seed: int
    file: Path
    """Where the result is kept."""

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON has it."""
        identity = {
            "row": self.row,
            "parameters": dict(self.parameters),
            "experiment": self.experiment.settings(),
            "initial": self.initial,
            "fold": self.fold,
            "seed": self.seed,
        }
        plain: dict[str, Any] = json.loads(json.dumps(identity))
        return plain


def fold_run(
    row: Row, trial: int, parameters: Parameters, tuning: Tuning, fold: int, folder: Path
) -> Run:
    """A fold of a trial. Its seed is the number of the fold, in all trials and rows."""
    file = folder / row.name / f"trial-{trial}-fold-{fold}.json"
    return Run(row.name, parameters, tuning.experiment, tuning.initial, fold, fold, file)


def run_of_test(row: str, parameters: Parameters, tuning: Tuning, seed: int, folder: Path) -> Run:
    """A test; tests of the same parameters have the same file."""
    file = folder / row / f"test-{tuning.test_iterations}it-{_digest(parameters)}-seed-{seed}.json"
    return Run(row, parameters, tuning.test, tuning.initial, TEST, seed, file)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Trials or tests with words as objects and all else as floats."""
    columns = {
        name: table[name].astype(object).where(table[name].notna(), None)
        if name in WORDS
        else table[name].map(float, na_action="ignore").astype(float)
        for name in table.columns
    }
    return pd.DataFrame(columns, columns=table.columns)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
