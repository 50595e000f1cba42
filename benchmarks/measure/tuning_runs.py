"""The runs of a tuning: searches over folds, then tests, kept on disk as they end."""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from tqdm import tqdm

from pml_gpw.training.file_errors import reading_file
from pml_gpw.training.files import write_atomically

from ..data.faults import AGAIN
from ..data.search_spaces import CONTROL, CONTROLLED, EVERY_ROW, Row
from .studies import TrialFile, best_trial, proposal
from .tuning_plan import Result, Run, Tuning, fold_run, run_of_test
from .tuning_workers import train

Steps = Generator[list[Run], list[Result], None]
"""Asks for runs again and again, and is sent their results."""


def run_all(tuning: Tuning, folder: Path, executor: Executor, at_once: int) -> None:
    """Search for the parameters of all rows, then test all rows; what is in ``folder`` is kept.

    ``executor`` has been prepared by :mod:`benchmarks.tuning_workers`.
    """
    rows = tuning.searched
    done = [len(trials_of(row, tuning, folder)) * tuning.folds for row in rows]
    total = sum(map(tuning.budget, rows)) * tuning.folds
    with tqdm(desc="searching", total=total, initial=sum(done), unit="run", mininterval=1) as bar:
        drive([search(row, tuning, folder) for row in rows], executor, at_once, _progress(bar))
    tests = [runs_of_tests(row, tuning, folder) for row in tuning.rows]
    total = sum(len({run.file for _, run in runs}) for runs in tests)
    with tqdm(desc="testing", total=total, unit="run", mininterval=1) as bar:
        drive(
            [_once([run for _, run in runs]) for runs in tests], executor, at_once, _progress(bar)
        )


def search(row: Row, tuning: Tuning, folder: Path) -> Steps:
    """Bring the trials of a row up to their number; each is scored by the mean over folds."""
    file = trial_file(row, folder)
    while len(trials := file.trials()) < tuning.budget(row):
        tried = proposal(row, trials)
        runs = [
            fold_run(row, tried.number, tried.parameters, tuning, fold, folder)
            for fold in range(tuning.folds)
        ]
        file.add(tried, outcome((yield runs)))
        for run in runs:
            run.file.unlink(missing_ok=True)


def outcome(results: list[Result]) -> Result:
    """Of a trial, the mean MAP@R of its folds; a trial of which a fold has failed has failed."""
    seconds = sum(result["cpu_seconds"] for result in results)
    failed = [f"fold {n}: {r['failed']}" for n, r in enumerate(results) if "failed" in r]
    if failed:
        return {"failed": "; ".join(failed), "cpu_seconds": seconds}
    values = [result["map_at_r"] for result in results]
    return {"map_at_r": float(np.mean(values)), "folds": values, "cpu_seconds": seconds}


def trial_file(row: Row, folder: Path) -> TrialFile:
    """Where the trials of a row are kept."""
    return TrialFile(folder / f"{row.name}.db", row)


def trials_of(row: Row, tuning: Tuning, folder: Path) -> list[FrozenTrial]:
    """The finished trials of a row, of those that this tuning has."""
    return trial_file(row, folder).trials()[: tuning.budget(row)]


def runs_of_tests(row: str, tuning: Tuning, folder: Path) -> list[tuple[str, Run]]:
    """The runs that test a row, as pairs of "default" or "tuned" and a run.

    The control takes the parameters of the row that it controls. A row whose trials have all failed
    has no tuned ones. Where the defaults are the best, the same runs come twice.
    """
    searched = EVERY_ROW[CONTROLLED if row == CONTROL else row]
    best = best_trial(trials_of(searched, tuning, folder))
    parameters = {"default": dict(searched.defaults), **({"tuned": best.params} if best else {})}
    return [
        (kind, run_of_test(row, chosen, tuning, seed, folder))
        for kind, chosen in parameters.items()
        for seed in range(tuning.seeds)
    ]


def kept(run: Run) -> Result | None:
    """The result of a run that is finished; None where its file is of another run, or not there."""
    if not run.file.exists():
        return None
    with reading_file(run.file, AGAIN):
        content = json.loads(run.file.read_text(encoding="utf-8"))
        result: Result = content["result"]
        if not {"cpu_seconds"} < result.keys():
            raise ValueError(f"not all there: {sorted(result)}")
        return result if content["run"] == run.identity() else None


def keep(run: Run, result: Result) -> None:
    """Write down the result of a run."""
    text = json.dumps({"run": run.identity(), "result": result})
    write_atomically(run.file, lambda path: path.write_text(text, encoding="utf-8"))


def drive(
    steps: Iterable[Steps], executor: Executor, at_once: int, on_run: Callable[[Run], object]
) -> None:
    """Carry out the runs that several ask for, ``at_once`` at a time, in turns.

    What one asks for depends on the results of its own runs alone, so the order in which runs end
    makes no difference. ``on_run`` is called with each run that has ended.
    """
    waiting: deque[tuple[_Asking, int]] = deque()
    running: dict[Future[Result], tuple[_Asking, int]] = {}

    def ended(asking: "_Asking", place: int, result: Result) -> None:
        asking.results[place] = result
        on_run(asking.runs[place])

    def go_on(asking: "_Asking") -> None:
        while len(asking.results) == len(asking.runs) and asking.ask():
            for place, run in enumerate(asking.runs):
                result = kept(run)
                if result is None:
                    waiting.append((asking, place))
                else:
                    ended(asking, place, result)

    for one in steps:
        go_on(_Asking(one))
    while waiting or running:
        while waiting and len(running) < at_once:
            asking, place = waiting.popleft()
            running[executor.submit(train, asking.runs[place])] = asking, place
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            asking, place = running.pop(future)
            keep(asking.runs[place], future.result())
            ended(asking, place, future.result())
            go_on(asking)


@dataclass
class _Asking:
    """Steps, the runs that they have asked for last, and the results so far by place."""

    steps: Steps
    runs: list[Run] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    begun: bool = False

    def ask(self) -> bool:
        """Send the results and take the next runs; whether there are any."""
        results = [self.results[place] for place in range(len(self.runs))]
        try:
            self.runs = self.steps.send(results) if self.begun else next(self.steps)
        except StopIteration:
            return False
        self.results, self.begun = {}, True
        return True


def _once(runs: list[Run]) -> Steps:
    """Ask for each of the runs once."""
    yield [*{run.file: run for run in runs}.values()]


def _progress(bar: Any) -> Callable[[Run], None]:
    def show(run: Run) -> None:
        bar.set_postfix_str(run.row, refresh=False)
        bar.update()

    return show
