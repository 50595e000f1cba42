"""What a tuning is made of: its settings, and single trainings."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .quick_training import INITIALS, Training
from .search_spaces import CONTROL, CONTROLLED, ROWS, Row
from .studies import Parameters

BATCH, DIMS, LEARNING_RATE, FOLDS = 80, 128, 2e-3, 4
NAMES = (*ROWS, CONTROL)
TEST = -1
"""Stands for the number of a fold: train on all training classes and score the test classes."""

Result = dict[str, Any]
"""The metrics of a run and its ``cpu_seconds``, or the reason why it has ``failed``."""


@dataclass(frozen=True)
class Tuning:
    """All settings of a tuning.

    ``training`` is that of a fold of a trial; a test differs in its ``test_iterations``.
    """

    dataset: str
    root: str | None
    folds: int
    training: Training
    test_iterations: int
    rows: tuple[str, ...]
    trials: int
    seeds: int

    @property
    def test(self) -> Training:
        """The training of a test."""
        return replace(self.training, iterations=self.test_iterations)

    @property
    def searched(self) -> list[Row]:
        """The rows that are tuned: of the control, the one that it controls."""
        names = [CONTROLLED if name == CONTROL else name for name in self.rows]
        return [ROWS[name] for name in dict.fromkeys(names)]

    def budget(self, row: Row) -> int:
        """The trials of a row: one, where there is nothing to tune."""
        return self.trials if row.space else 1

    @property
    def trials_name(self) -> str:
        """Names the trials: another for other images, folds or trainings."""
        training = self.training
        parts = [self.dataset, f"{training.iterations}it"]
        parts += [f"batch{training.batch}"] * (training.batch != BATCH)
        parts += [f"{training.dims}d"] * (training.dims != DIMS)
        parts += [f"lr{training.learning_rate:g}"] * (training.learning_rate != LEARNING_RATE)
        parts += [training.initial] * (training.initial != INITIALS[0])
        parts += [f"{self.folds}folds"] * (self.folds != FOLDS)
        if self.root is not None:
            parts += [_digest(self.root)]
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
    training: Training
    fold: int
    seed: int
    file: Path
    """Where the result is kept."""

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, beside images and code."""
        return {
            "row": self.row,
            "parameters": dict(self.parameters),
            "training": asdict(self.training),
            "fold": self.fold,
            "seed": self.seed,
        }


def fold_run(
    row: Row, trial: int, parameters: Parameters, tuning: Tuning, fold: int, folder: Path
) -> Run:
    """A fold of a trial. Its seed is the number of the fold, in all trials and rows."""
    file = folder / row.name / f"trial-{trial}-fold-{fold}.json"
    return Run(row.name, parameters, tuning.training, fold, fold, file)


def run_of_test(row: str, parameters: Parameters, tuning: Tuning, seed: int, folder: Path) -> Run:
    """A test; tests of the same parameters have the same file."""
    file = folder / row / f"test-{tuning.test_iterations}it-{_digest(parameters)}-seed-{seed}.json"
    return Run(row, parameters, tuning.test, TEST, seed, file)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
