"""The settings of a tuning, and its tests as single trainings."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pml_gpw.weightings import Range

from ..data.presets import INITIALS, BenchmarkExperiment, preset
from ..data.rows import BALANCED, CONTROL, CONTROLLED, ROWS, SUBSETS, THE_CONTROL, USUAL, Row
from .search import Parameters

TUNED = {**SUBSETS, **BALANCED, **USUAL, CONTROL: THE_CONTROL}
"""What a tuning has where no losses are named."""
FOLDS = 4
TEST = -1
"""Stands for the number of a fold: train on all training classes and score the test classes."""


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
    rows: Mapping[str, Row]
    trials: int
    seeds: int

    @property
    def test(self) -> BenchmarkExperiment:
        """The experiment of a test."""
        return self.experiment.shortened(self.test_iterations)

    @property
    def searched(self) -> list[Row]:
        """The rows that are tuned: of the control, the one that it controls."""
        found = {row.name: row for row in map(searched_for, self.rows.values())}
        return [*found.values()]

    def test_file(self, folder: Path, row: Row, parameters: Parameters, seed: int) -> Path:
        """Where the result of a test is kept."""
        of = digest([dict(parameters), self.test.settings(), self.initial])
        return folder / row.file_name / f"test-{of}-seed-{seed}.json"

    def budget(self, row: Row) -> int:
        """The trials of a row: one, where there is nothing to tune."""
        return self.trials if row.space else 1

    @property
    def identity(self) -> dict[str, Any]:
        """All that trials depend on beside the row."""
        return {**self.experiment.settings(), "initial": self.initial, "folds": self.folds}

    @property
    def settings(self) -> dict[str, Any]:
        """All of it as JSON has it; of a user's rows what a report needs of them."""
        own = {
            name: {
                "defaults": dict(row.defaults),
                "space": {n: _json(r) for n, r in row.space.items()},
            }
            for name, row in self.rows.items()
            if name not in ROWS
        }
        names = ("initial", "folds", "test_iterations", "trials", "seeds")
        found = {name: getattr(self, name) for name in names}
        found |= {"experiment": asdict(self.experiment), "rows": [*self.rows]}
        return {**found, **({"own_rows": own} if own else {})}

    @property
    def trials_name(self) -> str:
        """A readable name for the trials. Others settings that are not as usual are a digest."""
        one = self.experiment
        plain = preset(one.dataset, one.configuration)
        parts = [one.dataset.lower(), f"{one.iterations}it"]
        parts += [one.configuration] * (one.configuration not in ("small", "names"))
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
        if [*self.rows] != [*TUNED]:
            names = [row.file_name for row in self.rows.values()]
            parts += ["only", *(names if len(names) <= 4 else [digest([*self.rows])])]
        return "-".join(parts)


class FinalTest(NamedTuple):
    """One training of a row with parameters on all training classes, with a seed."""

    row: Row
    kind: str
    parameters: Parameters
    seed: int
    file: Path
    """Where the result is kept; that of the same parameters is the same."""


def _json(limits: Range) -> dict[str, float]:
    return {name: value for name, value in asdict(limits).items() if math.isfinite(value)}


def searched_for(row: Row) -> Row:
    """The row whose trials a row takes."""
    return ROWS[CONTROLLED] if row.name == CONTROL else row


def digest(value: Any) -> str:
    """Names a value of JSON."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
