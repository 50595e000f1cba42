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
from benchmarks.measure import tuning_runs
from benchmarks.measure.runs import Data, Place
from benchmarks.measure.scoring import Part
from benchmarks.measure.tuning_plan import Tuning
from benchmarks.measure.tuning_runs import Images, prepare
from pml_gpw.datasets import Glyphs

from .kills import Strike, after, before


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


before_a_fold_is_scored = before(tuning_runs, "train_and_score")
after_a_fold_is_kept = after(optuna.Trial, "set_user_attr")
in_the_transaction_of_a_trial = after(sqlalchemy.orm.Session, "flush")  # which has not ended
after_a_trial_is_added = after(tuning_runs, "add_trial")
before_the_result_of_a_test_is_renamed = before(os, "replace")
after_a_test = after(tuning_runs, "_test")
POINTS = [
    ("before_a_fold_is_scored", 6),
    ("after_a_fold_is_kept", 1),
    ("after_a_fold_is_kept", 13),
    ("in_the_transaction_of_a_trial", 4),
    ("in_the_transaction_of_a_trial", 25),
    ("after_a_trial_is_added", 4),
    ("before_the_result_of_a_test_is_renamed", 3),
    ("after_a_test", 3),
]


def exit_code_of_a_life(folder, point, nth):
    """What became of a process that runs the tuning and is killed at the ``nth`` such point."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pml_gpw", __name__])
    process = context.Process(target=_live, args=(str(folder), point, nth))
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
