"""Which similarities matter, when every loss is tuned alike? MAP@R after an equal budget of trials.

python -m benchmarks.tuning --help
"""

import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import optuna
import torch
import typer
from filelock import FileLock, Timeout

from pml_gpw.training import evaluation_transform
from pml_gpw.training.environment import code_digest, versions
from pml_gpw.training.file_errors import reading_file

from .data import balanced, options
from .data import rows as all_rows
from .data.datasets import CONFIGURATION_OF, DATASETS
from .data.faults import AGAIN, bad, command, output_folder
from .data.plan import (
    changed,
    checked_device,
    checked_losses,
    chosen_experiment,
    digest_of_data,
    digest_of_weights,
    splits_of,
)
from .data.presets import CONFIGURATIONS, INITIALS, PER_CLASS, BenchmarkExperiment
from .measure import folds, runs, scoring, search, tuning_runs
from .measure.folds import contiguous_folds
from .measure.runs import Place
from .measure.tuning_plan import FOLDS, TUNED, Tuning
from .measure.tuning_runs import Images, processes, run_all
from .report.saving import RESULTS, save
from .report.tuning_collect import collect
from .tuning_report import report

DECISIVE = (balanced, all_rows, folds, runs, scoring, search, tuning_runs)
"""The modules here on which results depend."""


@command
def main(
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")] = "Glyphs",
    root: options.Root = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            help=f"The settings of the training, one of: {', '.join(CONFIGURATIONS)}.",
            show_default="of the data set",
        ),
    ] = None,
    losses: options.Losses = "all",
    trials: Annotated[int, typer.Option(min=1, help="Trials of each row.")] = 50,
    seeds: Annotated[
        int, typer.Option(min=1, help="Tests per row and parameters, with seeds 0, 1, ….")
    ] = 10,
    iterations: options.Iterations = None,
    test_iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Training steps of a test.",
            show_default="as trials; for small and names 500",
        ),
    ] = None,
    batch: options.Batch = None,
    backbone: options.Backbone = None,
    weights: Annotated[
        str, typer.Option(help="Initial weights of the backbone: random, pretrained or a file.")
    ] = "random",
    init: Annotated[
        str,
        typer.Option(
            help="random: every loss begins with --weights. classifier: with a network that has "
            "first learned to tell the training classes apart, in as many steps."
        ),
    ] = INITIALS[0],
    dims: options.Dims = None,
    learning_rate: options.LearningRate = None,
    fold_count: Annotated[
        int, typer.Option("--folds", min=2, help="Parts of the training classes.")
    ] = FOLDS,
    jobs: Annotated[
        int, typer.Option(min=1, max=1024, help="Processes that train, one thread each.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … of all jobs.")] = "cpu",
    workers: Annotated[
        int, typer.Option(min=0, max=1024, help="Processes that load images, per job.")
    ] = 0,
    output: options.Output = RESULTS,
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
    experiment = changed(
        chosen_experiment("--dataset", dataset, configuration),
        {
            "iterations": iterations,
            "batch": batch,
            "dims": dims,
            "learning_rate": learning_rate,
            "backbone": backbone,
        },
    )
    experiment = replace(
        experiment,
        code=code_digest(Path(str(module.__file__)) for module in DECISIVE),
        versions=versions("torchvision", "pillow", "optuna"),
        weights=digest_of_weights(weights),
    )
    if init not in INITIALS:
        raise bad("--init", f"must be one of {', '.join(INITIALS)}, got {init!r}")
    rows, where = checked_losses(losses, TUNED), checked_device(device)
    experiment = replace(experiment, data=_checked_data(experiment, root, fold_count))
    if test_iterations is None:
        short = experiment.configuration in CONFIGURATION_OF.values()
        test_iterations = 500 if short else experiment.iterations
    tuning = Tuning(experiment, init, fold_count, test_iterations, rows, trials, seeds)
    output_folder(output)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = output / "tuning-runs" / tuning.trials_name
    tuning = _begun(folder, tuning, fresh, report_only)
    if not report_only:
        place = Place(folder, weights if weights != "random" else None, where, "auto", workers)
        _train_all(tuning, folder, root, place, jobs)
    collect(tuning, folder).write(output / tuning.name)
    typer.echo(f"\n{report(output / tuning.name)}\nSaved in {output / tuning.name}")


def images_of(experiment: BenchmarkExperiment, root: Path | None) -> Images:
    """The splits of a data set; its training images as they are trained on and as evaluated."""
    data = splits_of(experiment, root)
    if experiment.crop is None:
        return Images(data, data.train)
    view = evaluation_transform(experiment.resize, experiment.crop)
    return Images(data, DATASETS[experiment.dataset](root, "train", view))


def _checked_data(experiment: BenchmarkExperiment, root: Path | None, count: int) -> str:
    """The digest of the images, after a look at whether folds and batch fit."""
    data = splits_of(experiment, root)
    labels = torch.as_tensor(data.train.labels)
    classes = len(labels.unique())
    if count > classes // 2:
        raise bad("--folds", f"must be at most {classes // 2}, for two classes each, got {count}")
    smallest = min(len(labels[f.train].unique()) for f in contiguous_folds(labels, count))
    most = smallest * PER_CLASS
    if experiment.batch > most:
        raise bad(
            "--batch",
            f"must be at most {most} ({smallest} training classes of a fold x {PER_CLASS}), "
            f"got {experiment.batch}",
        )
    return digest_of_data(data)


def _begun(folder: Path, tuning: Tuning, fresh: bool, report_only: bool) -> Tuning:
    """The tuning, whose settings are written down in ``folder``; those of others are refused.

    To report, another state of the code will do: the tuning is then of the code of the trials.
    """
    if fresh and report_only:
        raise bad("--report-only", "must not come with --fresh, which leaves nothing to report")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    file = folder / "identity.json"
    now: dict[str, Any] = json.loads(json.dumps(tuning.identity))
    if not file.exists():
        if report_only:
            raise bad("--report-only", f"must have something to report, got nothing in {folder}")
        save(folder, {file.name: json.dumps(now, indent=1)})
        return tuning
    with reading_file(file, AGAIN):
        before: dict[str, Any] = dict(json.loads(file.read_text(encoding="utf-8")))
    if report_only:
        made: dict[str, Any] = {name: before[name] for name in ("code", "versions")}
        tuning, now = (
            replace(tuning, experiment=replace(tuning.experiment, **made)),
            {**now, **made},
        )
    other = [name for name in now if now[name] != before.get(name)]
    if other:
        changes = ", ".join(f"{n} {before.get(n)} and not {now[n]}" for n in other)
        raise bad("--fresh", f"must be given to begin again: {folder} has trials of {changes}")
    return tuning


def _train_all(tuning: Tuning, folder: Path, root: Path | None, place: Place, jobs: int) -> None:
    load = partial(images_of, tuning.experiment, root)
    try:
        with (
            FileLock(folder / "lock", timeout=0),
            processes(jobs, load, tuning.folds) as pool,
        ):
            run_all(
                tuning, folder, place, pool, jobs + 1
            )  # one that waits: no process is ever idle
    except Timeout:
        typer.echo(f"Error: {folder}: another call is at work on these trials", err=True)
        raise typer.Exit(1) from None
    except BrokenProcessPool:
        message = "a process that trained was killed (the memory may not suffice for --jobs)"
        typer.echo(f"Error: {message}; the same call goes on", err=True)
        raise typer.Exit(1) from None
    except (ValueError, ImportError) as error:  # such as an unknown backbone
        typer.echo(f"Error: {str(error).strip().splitlines()[-1]}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo("Interrupted: the same command goes on.", err=True)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    typer.run(main)
