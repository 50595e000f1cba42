"""A tuning in miniature, in processes of its own that may kill themselves at a named point."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import sqlalchemy.orm
import torch

from benchmarks.data.presets import preset
from benchmarks.data.rows import ROWS
from benchmarks.measure import tuning_runs
from benchmarks.measure.runs import Data, Place
from benchmarks.measure.scoring import Part
from benchmarks.measure.tuning_plan import Tuning
from benchmarks.measure.tuning_runs import Images, prepare
from pml_gpw.datasets import Glyphs

from .kills import Point


def rows_of(*names):
    return {name: ROWS[name] for name in names}


EXPERIMENT = replace(preset("Glyphs", "small"), iterations=2, batch=20, dims=8)
SMALL = Tuning(EXPERIMENT, "random", 4, 3, rows_of("S", "none", "ntxent"), trials=3, seeds=2)
PLACE = Place(Path("nowhere"), None, torch.device("cpu"))


def few_glyphs():
    """Images of 16 classes to train on and of 8 to test."""
    parts = []
    for split, classes in (("train", 16), ("test", 8)):
        glyphs = Glyphs(None, split)
        chosen = torch.isin(glyphs.labels, glyphs.labels.unique()[:classes])
        parts.append(Part(glyphs, chosen.nonzero().flatten()))
    return Images(Data(*parts), parts[0])


def run(folder, tuning=SMALL, threads=1, load=few_glyphs):
    """Bring a tuning to its end, in this process."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with ThreadPoolExecutor(threads, initializer=prepare, initargs=(load, tuning.folds)) as pool:
        tuning_runs.run_all(tuning, Path(folder), PLACE, pool, threads)


POINTS = {
    "before a fold is scored": (tuning_runs, "train_and_score", 6, False),
    "after the first fold is kept": (optuna.Trial, "set_user_attr", 1, True),
    "after another fold is kept": (optuna.Trial, "set_user_attr", 13, True),
    "before the transaction of a trial ends": (sqlalchemy.orm.Session, "flush", 25, True),
    "after a trial is added": (tuning_runs, "add_trial", 4, True),
    "before the result of a test is renamed": (os, "replace", 3, False),
    "after a test": (tuning_runs, "_test", 3, True),
}


def exit_code_of_a_life(folder, point):
    """What became of a process that runs the tuning and is killed at a point."""
    pid = os.fork()
    if pid == 0:
        try:
            owner, name, nth, is_after = POINTS[point]
            Point(owner, name, is_after=is_after).kill_at(nth)
            run(folder)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
