"""Processes that train, one thread each."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch

from .contenders import CONTENDERS
from .folds import contiguous_folds
from .quick_training import (
    INITIALS,
    DivergedError,
    Images,
    Training,
    Weights,
    classifier_weights,
    train_and_score,
)
from .search_spaces import CONTROL, ROWS
from .tuning_plan import TEST, Result, Run

Load = Callable[[], tuple[Images, Images]]
"""Loads the images of the training and of the test classes."""

_parts: dict[int, tuple[Images, Images]] = {}
"""Of this process: the images of each fold and of the test, to train on and to score."""
_classifiers: dict[tuple[Training, int, int], Weights] = {}
"""Of this process: weights that runs begin with, by training, fold and seed."""


def processes(jobs: int, load: Load, folds: int) -> ProcessPoolExecutor:
    """Processes for :func:`train`. They end when this process does, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, _prepare_process, (load, folds))


def prepare(load: Load, folds: int) -> None:
    """Load the images for :func:`train`, in this process, and let it use one thread."""
    torch.set_num_threads(1)
    train, test = load()
    _classifiers.clear()
    for number, fold in enumerate(contiguous_folds(train.labels, folds)):
        _parts[number] = train.at(fold.train), train.at(fold.validation)
    _parts[TEST] = train, test


def train(run: Run) -> Result:
    """Train; that a training leaves the finite numbers is a result as well."""
    make = CONTENDERS[run.row] if run.row == CONTROL else ROWS[run.row].make
    miner, loss = make(**run.parameters)
    began = time.process_time()
    found: Result
    try:
        weights = _initial_weights(run)
        parts = _parts[run.fold]
        found = {**train_and_score(miner, loss, run.training, *parts, run.seed, weights)}
    except DivergedError as error:
        found = {"failed": str(error)}
    return {**found, "cpu_seconds": time.process_time() - began}


def _initial_weights(run: Run) -> Weights | None:
    """The weights that a run begins with, if not random; the same for all rows."""
    if run.training.initial == INITIALS[0]:
        return None
    key = run.training, run.fold, run.seed
    if key not in _classifiers:
        _classifiers[key] = classifier_weights(run.training, _parts[run.fold][0], run.seed)
    return _classifiers[key]


def _prepare_process(load: Load, folds: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process stops the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(load, folds)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
