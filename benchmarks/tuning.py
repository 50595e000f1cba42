"""Which similarities matter, when every loss is tuned alike? MAP@R after an equal budget of trials.

python -m benchmarks.tuning --help
"""

import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Annotated

import optuna
import typer
from filelock import FileLock, Timeout

from pml_gpw.datasets import Glyphs
from pml_gpw.training.file_errors import reading_file

from .faults import FRESH, bad, command, output_folder
from .files import write_atomically
from .folds import contiguous_folds
from .presets import PER_CLASS
from .provenance import made_with
from .quick_training import INITIALS, Images, Training
from .tuning_export import collect
from .tuning_plan import BATCH, DIMS, FOLDS, LEARNING_RATE, NAMES, Tuning
from .tuning_report import report
from .tuning_runs import run_all
from .tuning_workers import Load, processes

RESULTS = Path(__file__).parent / "results"
DATASETS = {"glyphs": Glyphs}


@command
def main(
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")] = "glyphs",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the user's cache")
    ] = None,
    rows: Annotated[
        str, typer.Option(help=f"all, or comma-separated out of: {', '.join(NAMES)}.")
    ] = "all",
    trials: Annotated[int, typer.Option(min=1, help="Trials of each row.")] = 50,
    seeds: Annotated[
        int, typer.Option(min=1, help="Tests per row and parameters, with seeds 0, 1, ….")
    ] = 10,
    iterations: Annotated[
        int, typer.Option(min=1, help="Training steps for each fold of a trial.")
    ] = 150,
    test_iterations: Annotated[int, typer.Option(min=1, help="Training steps of a test.")] = 500,
    batch: Annotated[
        int, typer.Option(min=PER_CLASS, help=f"Images per step, {PER_CLASS} of each class.")
    ] = BATCH,
    init: Annotated[
        str,
        typer.Option(
            help="The weights that every loss begins with. random, or classifier: of a network "
            "that has learned to tell the training classes apart, in as many steps."
        ),
    ] = INITIALS[0],
    dims: Annotated[int, typer.Option(min=1, max=65_536, help="Embedding dimensions.")] = DIMS,
    learning_rate: Annotated[
        float, typer.Option(min=1e-8, max=1, help="Of Adam, the same for all rows.")
    ] = LEARNING_RATE,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the training classes.")] = FOLDS,
    jobs: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes that train, one thread each.")
    ] = 1,
    output: Annotated[Path, typer.Option(help="Folder for reports and trials.")] = RESULTS,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; report what is finished.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget the trials and tests of earlier calls.")
    ] = False,
) -> None:
    """Tune every loss with the same number of trials, then compare the best on unseen classes.

    A trial trains on three quarters of the training classes and is scored by MAP@R on the rest,
    once for each of four contiguous quarters. The first trial is of the default parameters, the
    next nine are random, the others are proposed by Optuna (TPE). Then every row is trained on all
    training classes, with its defaults and with its best parameters, and tested once per seed. An
    interrupted call goes on where it stopped when it is given again; more --trials or --seeds add
    to those that are there. Results do not depend on --jobs.
    """
    training = Training(iterations, batch, dims, learning_rate, init)
    tuning = Tuning(
        dataset,
        None if root is None else str(root),
        folds,
        training,
        test_iterations,
        _rows(rows),
        trials,
        seeds,
    )
    if dataset not in DATASETS:
        raise bad("--dataset", f"must be one of {', '.join(DATASETS)}, got {dataset!r}")
    if init not in INITIALS:
        raise bad("--init", f"must be one of {', '.join(INITIALS)}, got {init!r}")
    load = partial(images_of, dataset, tuning.root)
    _check_images(load, tuning)
    output_folder(output)
    folder = output / "tuning-runs" / tuning.trials_name
    made = _begin(folder, fresh, report_only)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not report_only:
        _train_all(tuning, folder, load, jobs)
    collect(tuning, folder, made).write(output / tuning.name)
    typer.echo(f"\n{report(output / tuning.name)}\nSaved in {output / tuning.name}")


def images_of(dataset: str, root: str | None) -> tuple[Images, Images]:
    """The images of the training and of the test classes, in 0..1."""
    splits = (DATASETS[dataset](root, split) for split in ("train", "test"))
    train, test = (Images(s.images[:, None].float() / 255, s.labels) for s in splits)
    return train, test


def _rows(text: str) -> tuple[str, ...]:
    """The rows of a comma-separated list, in the order of the table."""
    names = list(NAMES) if text == "all" else [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        raise bad("--rows", f"must be all, or out of {', '.join(NAMES)}, got {unknown[0]!r}")
    return tuple(name for name in NAMES if name in names)


def _check_images(load: Load, tuning: Tuning) -> None:
    """Refuse a root without the data set, and more folds or larger batches than it has."""
    try:
        labels = load()[0].labels
    except (ValueError, OSError) as error:
        raise bad("--root", str(error)) from error
    classes = len(labels.unique())
    if tuning.folds > classes // 2:
        raise bad("--folds", f"must be at most {classes // 2}, for two classes each")
    smallest = min(len(labels[f.train].unique()) for f in contiguous_folds(labels, tuning.folds))
    most, batch = smallest * PER_CLASS, tuning.training.batch
    if batch % PER_CLASS or batch > most:
        raise bad(
            "--batch",
            f"must be a multiple of {PER_CLASS} and at most {most} ({smallest} training classes "
            f"of a fold x {PER_CLASS}), got {batch}",
        )


def _begin(folder: Path, fresh: bool, report_only: bool) -> str:
    """What the trials in ``folder`` are made with, which must be the code and versions of now."""
    if fresh and report_only:
        raise bad("--report-only", "must not come with --fresh, which leaves nothing to report")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    file, now = folder / "made_with.json", made_with()
    if not file.exists():
        if report_only:
            raise bad("--report-only", f"must have something to report, got nothing in {folder}")
        write_atomically(file, lambda path: path.write_text(json.dumps(now), encoding="utf-8"))
        return now
    with reading_file(file, FRESH):
        before = str(json.loads(file.read_text(encoding="utf-8")))
    if before != now and not report_only:
        raise bad(
            "--fresh",
            f"must be given, or an earlier state of the code be taken: {folder} was made with "
            f"{before}, and this is {now}",
        )
    return before


def _train_all(tuning: Tuning, folder: Path, load: Load, jobs: int) -> None:
    try:
        with FileLock(folder / "lock", timeout=0), processes(jobs, load, tuning.folds) as pool:
            run_all(tuning, folder, pool, jobs + 1)  # one that waits: no process is ever idle
    except Timeout:
        typer.echo(f"Error: {folder}: another call is at work on these trials", err=True)
        raise typer.Exit(1) from None
    except BrokenProcessPool:
        message = "a process that trained was killed (the memory may not suffice for --jobs)"
        typer.echo(f"Error: {message}; the same call goes on", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
