"""Processes that train, one thread each."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch

from ..data.contenders import CONTENDERS
from ..data.datasets import Data
from ..data.presets import INITIALS, BenchmarkExperiment
from ..data.search_spaces import CONTROL, EVERY_ROW
from .folds import contiguous_folds
from .runs import Place
from .scoring import (
    DivergedError,
    Part,
    Weights,
    classifier_weights,
    train_and_score,
)
from .tuning_plan import TEST, Result, Run


class Images(NamedTuple):
    """The splits of a data set, and the training images once more as they are evaluated."""

    test: Data
    """The training split, and what it is tested on."""
    train_as_queries: object


Load = Callable[[], Images]

_parts: dict[int, Data] = {}
"""Of this process: what each fold and the test train on and score."""
_places: list[Place] = []
"""Of this process: where it computes."""
_classifiers: dict[tuple[BenchmarkExperiment, int, int], Weights] = {}
"""Of this process: weights that runs begin with, by experiment, fold and seed."""


def processes(jobs: int, load: Load, folds: int, place: Place) -> ProcessPoolExecutor:
    """Processes for :func:`train`. They end when this process does, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, _prepare_process, (load, folds, place))


def prepare(load: Load, folds: int, place: Place) -> None:
    """Load the images for :func:`train`, in this process, and let it use one thread."""
    torch.set_num_threads(1)
    images = load()
    train, queries = images.test.train, images.train_as_queries
    for number, fold in enumerate(contiguous_folds(torch.as_tensor(train.labels), folds)):
        _parts[number] = Data(Part(train, fold.train), Part(queries, fold.validation))
    _parts[TEST] = images.test
    _places[:] = [place]
    _classifiers.clear()


def train(run: Run) -> Result:
    """Train; that a training leaves the finite numbers is a result as well."""
    make = CONTENDERS[run.row] if run.row == CONTROL else EVERY_ROW[run.row].make
    miner, loss = make(**run.parameters)
    began = time.process_time()
    found: Result
    try:
        weights = _initial_weights(run)
        (place,), data = _places, _parts[run.fold]
        found = {**train_and_score(miner, loss, run.experiment, data, place, run.seed, weights)}
    except DivergedError as error:
        found = {"failed": str(error)}
    return {**found, "cpu_seconds": time.process_time() - began}


def _initial_weights(run: Run) -> Weights | None:
    """The weights that a run begins with, if they are not its own; the same for all rows."""
    if run.initial == INITIALS[0]:
        return None
    key = run.experiment, run.fold, run.seed
    if key not in _classifiers:
        (place,), data = _places, _parts[run.fold]
        _classifiers[key] = classifier_weights(run.experiment, data, place, run.seed)
    return _classifiers[key]


def _prepare_process(load: Load, folds: int, place: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(load, folds, place)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
