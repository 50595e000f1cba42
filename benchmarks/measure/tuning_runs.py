"""The runs of a tuning: searches, then tests, in processes of one thread each, kept as they end."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from optuna.trial import FrozenTrial
from tqdm import tqdm

from pml_gpw.training.file_errors import reading_file
from pml_gpw.training.files import write_atomically

from ..data.datasets import Data
from ..data.faults import AGAIN, DivergedError
from ..data.own_losses import row_of
from ..data.presets import INITIALS, BenchmarkExperiment
from ..data.rows import Row
from .folds import contiguous_folds
from .runs import Place
from .scoring import Part, Weights, classifier_weights, train_and_score
from .search import Parameters, add_trial, best_trial, database_errors, open_study, trials_of
from .tuning_plan import TEST, FinalTest, Tuning, searched_for

Result = dict[str, Any]
"""The metrics of a test and its ``cpu_seconds``, or the reason why it has ``failed``."""


class Images(NamedTuple):
    """The splits of a data set, and the training images once more as they are evaluated."""

    test: Data
    """The training split, and what it is tested on."""
    train_as_queries: object


Load = Callable[[], Images]

_parts: dict[int, Data] = {}
"""Of this process: what each fold and the test train on and score."""
_classifiers: dict[tuple[Any, int, int], Weights] = {}
"""Of this process: weights that runs begin with, by experiment, fold and seed."""


def processes(jobs: int, load: Load, folds: int) -> ProcessPoolExecutor:
    """Processes for :func:`run_all`. They end when this process does, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, _prepare_process, (load, folds))


def prepare(load: Load, folds: int) -> None:
    """Load the images, in this process, and let it use one thread."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    images = load()
    train, queries = images.test.train, images.train_as_queries
    for number, fold in enumerate(contiguous_folds(torch.as_tensor(train.labels), folds)):
        _parts[number] = Data(Part(train, fold.train), Part(queries, fold.validation))
    _parts[TEST] = images.test
    _classifiers.clear()


class Work(NamedTuple):
    """What a process is told of a training: what it is of, and where its results are kept."""

    source: str
    """Of the row."""
    experiment: BenchmarkExperiment
    initial: str
    place: Place
    folder: Path


def run_all(tuning: Tuning, folder: Path, place: Place, executor: Executor, at_once: int) -> None:
    """Search for the parameters of all rows, then test all rows; what is in ``folder`` is kept.

    Rows take turns, one trial of each after the other, ``at_once`` at a time. What is tried of a
    row depends on its own trials alone, so the number of processes makes no difference.
    """
    rows = {row.name: row for row in tuning.searched}
    left = {n: tuning.budget(r) - len(finished_trials(r, tuning, folder)) for n, r in rows.items()}
    waiting = deque(name for name, count in left.items() if count)
    running: dict[Future[None], str] = {}
    total = sum(map(tuning.budget, rows.values()))
    done = total - sum(left.values())
    with tqdm(desc="searching", total=total, initial=done, unit="trial", mininterval=1) as bar:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.popleft()
                work = Work(rows[name].source, tuning.experiment, tuning.initial, place, folder)
                running[executor.submit(_search, work, tuning.folds)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                name = running.pop(future)
                left[name] -= 1
                waiting.extend([name] * bool(left[name]))
                bar.set_postfix_str(name, refresh=False)
                bar.update()
    tests = [test for row in tuning.rows.values() for test in final_tests(row, tuning, folder)]
    new = {test.file: test for test in tests if kept(test) is None}
    futures = [
        executor.submit(
            _test,
            Work(test.row.source, tuning.test, tuning.initial, place, test.file),
            test.parameters,
            test.seed,
        )
        for test in new.values()
    ]
    for future in tqdm(as_completed(futures), "testing", len(futures), unit="test", mininterval=1):
        future.result()


def finished_trials(row: Row, tuning: Tuning, folder: Path) -> list[FrozenTrial]:
    """The finished trials of a row, of those that this tuning has."""
    with database_errors(folder):
        return trials_of(open_study(folder, row))[: tuning.budget(row)]


def final_tests(row: Row, tuning: Tuning, folder: Path) -> list[FinalTest]:
    """The tests of a row, with its defaults and with its best parameters.

    The control takes the parameters of the row that it controls. A row whose trials have all failed
    has no best ones. Where the defaults are the best, the same tests come twice.
    """
    searched = searched_for(row)
    best = best_trial(finished_trials(searched, tuning, folder))
    parameters = {"default": dict(searched.defaults), **({"tuned": best.params} if best else {})}
    return [
        FinalTest(row, kind, chosen, seed, tuning.test_file(folder, row, chosen, seed))
        for kind, chosen in parameters.items()
        for seed in range(tuning.seeds)
    ]


def kept(test: FinalTest) -> Result | None:
    """The result of a test that is finished; None where there is none."""
    if not test.file.exists():
        return None
    with reading_file(test.file, AGAIN):
        result: Result = json.loads(test.file.read_text(encoding="utf-8"))
        if not {"cpu_seconds"} < result.keys():
            raise ValueError(f"not all there: {sorted(result)}")
        return result


def _search(work: Work, folds: int) -> None:
    """Add one trial to the study of a row; the seed of a fold is its number, in all trials."""
    row = row_of(work.source)
    with database_errors(work.folder):
        add_trial(row, open_study(work.folder, row), partial(_score, work), folds)


def _score(work: Work, parameters: Parameters, fold: int) -> float:
    return _metrics(work, parameters, fold, fold)["map_at_r"]


def _test(work: Work, parameters: Parameters, seed: int) -> None:
    """Write down the result of a test; that it leaves the finite numbers is one as well."""
    began, result = time.process_time(), Result()
    try:
        result |= _metrics(work, parameters, TEST, seed)
    except DivergedError as error:
        result["failed"] = str(error)
    text = json.dumps({**result, "cpu_seconds": time.process_time() - began})
    write_atomically(work.folder, lambda path: path.write_text(text, encoding="utf-8"))


def _metrics(work: Work, parameters: Parameters, part: int, seed: int) -> dict[str, float]:
    """Train on a part of the data, and score what it leaves out."""
    miner, loss = row_of(work.source).make(**parameters)
    weights = None
    if work.initial != INITIALS[0]:  # the same for all rows
        key = work.experiment, part, seed
        if key not in _classifiers:
            _classifiers[key] = classifier_weights(work.experiment, _parts[part], work.place, seed)
        weights = _classifiers[key]
    return train_and_score(miner, loss, work.experiment, _parts[part], work.place, seed, weights)


def _prepare_process(load: Load, folds: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(load, folds)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
