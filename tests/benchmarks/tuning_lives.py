"""A tuning in miniature, in processes of its own that may kill themselves at a named point."""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import sqlalchemy.orm
import torch

from benchmarks.data.presets import preset
from benchmarks.data.rows import ROWS
from benchmarks.measure import search, tuning_runs
from benchmarks.measure.runs import Data, Place
from benchmarks.measure.scoring import Part
from benchmarks.measure.tuning_plan import Tuning
from benchmarks.measure.tuning_runs import Images, prepare
from pml_gpw.datasets import Glyphs

from .kills import Strike, around


def rows_of(*names):
    return {name: ROWS[name] for name in names}


SMALL = Tuning(
    experiment=replace(preset("Glyphs", "small"), iterations=2, batch=20, dims=8),
    initial="random",
    folds=4,
    test_iterations=3,
    rows=rows_of("S", "none", "ntxent"),
    trials=3,
    seeds=2,
)
PLACE = Place(Path("nowhere"), None, torch.device("cpu"))
PATIENCE = 120
"""Seconds until a life counts as hung."""


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


def before_a_fold_is_scored(strike):
    around(tuning_runs, "train_and_score", before=lambda *_: strike())


def after_a_fold_is_kept(strike):
    around(optuna.Trial, "set_user_attr", after=lambda *_: strike())


def in_the_transaction_of_a_trial(strike):
    """The trial is in the database, its transaction has not ended."""
    around(sqlalchemy.orm.Session, "flush", after=lambda *_: strike())


def after_a_trial_is_told_to_have_failed(strike):
    """It was cut off in the life before, and is to be taken up."""
    around(optuna.Study, "tell", after=lambda *_: strike())


def after_a_trial_is_added(strike):
    around(search, "add_trial", after=lambda *_: strike())
    around(tuning_runs, "add_trial", after=lambda *_: strike())


def before_the_result_of_a_test_is_renamed(strike):
    around(os, "replace", before=lambda *_: strike())


def after_a_test(strike):
    around(tuning_runs, "_test", after=lambda *_: strike())


POINTS = [
    (before_a_fold_is_scored, 6),
    (after_a_fold_is_kept, 1),
    (after_a_fold_is_kept, 13),
    (in_the_transaction_of_a_trial, 1),
    (in_the_transaction_of_a_trial, 4),
    (in_the_transaction_of_a_trial, 25),
    (after_a_trial_is_added, 4),
    (before_the_result_of_a_test_is_renamed, 3),
    (after_a_test, 3),
]


def exit_code_of_a_life(folder, point, nth):
    """What became of a process that runs the tuning and is killed at the ``nth`` such point."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pml_gpw", __name__])
    process = context.Process(target=_live, args=(str(folder), point.__name__, nth))
    process.start()
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"a life that goes on after {PATIENCE} seconds")
    return process.exitcode


def _live(folder, point, nth):
    torch.set_num_threads(1)
    globals()[point](Strike(nth))
    run(folder)
