"""The paper's experiment: train on half of the classes, measure Recall@K on the others.

python -m benchmarks.paper --help
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from pml_gpw.datasets import CUB200, Cars196, ImageDataset, ImageFolder, InShop
from pml_gpw.datasets import StanfordOnlineProducts as SOP

from . import processes
from .checkpoints import Checkpoints
from .contenders import CONTENDERS
from .experiment import RESULT, Data, Place, finished, run
from .presets import CONFIGURATIONS, Experiment, preset, shortened
from .sampling import PER_CLASS
from .trainer import Trainer
from .views import evaluation_view, train_view

RUNS = Path(__file__).parent / "results" / "paper-runs"
DATASETS: dict[str, type[ImageDataset]] = {
    dataset.__name__: dataset for dataset in (CUB200, Cars196, SOP, InShop, ImageFolder)
}
WITHOUT_HYPERPARAMETERS = ("contrastive", "triplet-semihard", "ntxent")
PUBLISHED = "bn_inception-52deb4733.pth"
CONFIGURED = "by configuration"  # shown as the default of options that change one setting


def main(
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights of the backbone: a file (the paper starts BN-Inception from "
            f"{PUBLISHED}), 'pretrained' (the library downloads its own) or 'random'."
        ),
    ],
    configuration: Annotated[
        str,
        typer.Option(
            help="released: the authors' published settings for CUB200. text: what the paper says "
            "(λ 1, β 50, crops of 224, average pooling, BatchNorm not frozen), else as released."
        ),
    ] = "released",
    losses: Annotated[
        str, typer.Option(help=f"Comma-separated out of: {', '.join(CONTENDERS)}. SNP is MS.")
    ] = "SNP",
    dims: Annotated[str, typer.Option(help="Embedding dimensions, comma-separated.")] = "512",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each, with seeds 0, 1, ….")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with runs that were interrupted.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what is finished or interrupted.")
    ] = False,
    backbone: Annotated[
        str, typer.Option(help="bn_inception, timm/<model> or torchvision/<model>.")
    ] = "bn_inception",
    pooling: Annotated[
        str | None,
        typer.Option(help="average, max, sum (of both) or own.", show_default=CONFIGURED),
    ] = None,
    frozen_batch_norm: Annotated[
        bool | None,
        typer.Option(
            "--frozen-batch-norm/--no-frozen-batch-norm",
            help="Keep the running statistics.",
            show_default=CONFIGURED,
        ),
    ] = None,
    memory: Annotated[
        int, typer.Option(min=0, help="Embeddings in a cross-batch memory; 0 for none.")
    ] = 0,
    alpha: Annotated[
        float | None, typer.Option(help="α, sharpness for positives.", show_default=CONFIGURED)
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="β, sharpness for negatives.", show_default=CONFIGURED)
    ] = None,
    base: Annotated[
        float | None, typer.Option(help="λ, where pairs begin to count.", show_default=CONFIGURED)
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0, help="ε of the mining; larger keeps more.", show_default=CONFIGURED),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=PER_CLASS, help=f"Images per step, {PER_CLASS} of a class.", show_default=CONFIGURED
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps; those of the learning rate come at the same shares of them.",
            show_default=CONFIGURED,
        ),
    ] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps between evaluations, each a checkpoint.", show_default=CONFIGURED
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-9, max=1, help="Of Adam.", show_default=CONFIGURED)
    ] = None,
    resize: Annotated[int, typer.Option(min=8, help="Shorter side before cropping.")] = 256,
    crop: Annotated[
        int | None,
        typer.Option(min=8, help="Pixels of the network's image.", show_default=CONFIGURED),
    ] = None,
    amp: Annotated[bool, typer.Option("--amp", help="Train under autocast to bfloat16.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images.")] = 4,
    device: Annotated[
        str, typer.Option(help="cuda, cuda:1, cpu, …", show_default="cuda, else cpu")
    ] = "",
    backend: Annotated[
        str, typer.Option(help="Search of Recall@K: auto, faiss or torch.")
    ] = "auto",
    output: Annotated[
        Path, typer.Option(help="Folder of the runs.", show_default="benchmarks/results/paper-runs")
    ] = RUNS,
) -> None:
    """Train each loss, dimension and seed on the data set; python -m benchmarks.tables compares.

    The paper starts BN-Inception from the checkpoint bn_inception-52deb4733.pth.

    A run ends in OUTPUT/<name>/seed<n>/ with result.json (Recall@K after the last epoch, and in
    the best epoch, which is chosen on the test set as the released code does), last.pt and
    best.pt (weights), logs/ (CSV, SQLite) and tensorboard/. Finished runs are not trained again.

    With torchrun --nproc-per-node N -m benchmarks.paper, N processes train together: the same
    batches, the same loss, and up to rounding the same result as one.
    """
    chosen = _experiment(dataset, configuration, _digest(weights), backbone)
    given: dict[str, Any] = {
        "pooling": pooling,
        "frozen_batch_norm": frozen_batch_norm,
        "alpha": alpha,
        "beta": beta,
        "base": base,
        "epsilon": epsilon,
        "batch": batch,
        "evaluate_every": evaluate_every,
        "learning_rate": learning_rate,
        "crop": crop,
    }
    chosen = replace(
        chosen if iterations is None else shortened(chosen, iterations),
        memory=memory,
        resize=resize,
        amp=amp,
        **{name: value for name, value in given.items() if value is not None},
    )
    names, sizes, where = _losses(losses), _dims(dims), _device(device)
    if 0 < memory < chosen.batch:
        raise _bad("--memory", f"must be 0 or at least the batch of {chosen.batch}, got {memory}")
    data = _data(chosen, root)
    plan = [*_plan(replace(chosen, data=_digest_of(data, root)), names, sizes, seeds)]
    _check_interrupted(plan, output, resume, fresh)
    place = Place(output, None if weights == "random" else weights, where, backend, workers)
    with processes.together(where):
        for experiment in plan:
            _run(experiment, data, place._replace(folder=output / experiment.name), fresh)
        typer.echo(f"Compare with: python -m benchmarks.tables --runs {output}")


def _bad(option: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=option)


def _experiment(dataset: str, configuration: str, weights: str, backbone: str) -> Experiment:
    for option, value, allowed in (
        ("DATASET", dataset, DATASETS),
        ("--configuration", configuration, CONFIGURATIONS),
    ):
        if value not in allowed:
            raise _bad(option, f"must be one of {', '.join(allowed)}, got {value!r}")
    return replace(preset(dataset, configuration), weights=weights, backbone=backbone)


def _digest(weights: str) -> str:
    """What names the weights in the result."""
    if weights in ("random", "pretrained"):
        return weights
    if not Path(weights).is_file():
        raise _bad("--weights", f"must be a file, 'pretrained' or 'random', got {weights!r}")
    return f"sha256:{hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16]}"


def _losses(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise _bad("--losses", f"must be out of {', '.join(CONTENDERS)}, got {unknown[0]!r}")
    return list(dict.fromkeys(names))


def _dims(text: str) -> list[int]:
    values = text.split(",")
    if not all(value.strip().isdigit() and int(value) > 0 for value in values):
        raise _bad("--dims", f"must be integers > 0, comma-separated, got {text!r}")
    return list(dict.fromkeys(int(value) for value in values))


def _plan(
    chosen: Experiment, losses: list[str], dims: list[int], seeds: int
) -> Iterator[Experiment]:
    """Seed by seed, so that an early stop leaves whole comparisons."""
    for seed in range(seeds):
        for loss in losses:
            for dimensions in dims:
                one = replace(chosen, loss=loss, dims=dimensions, seed=seed)
                if loss in WITHOUT_HYPERPARAMETERS:  # another ε must not make another run of it
                    plain = preset(one.dataset, one.configuration).hyperparameters
                    one = replace(one, **plain)  # type: ignore[arg-type]
                yield one


def _digest_of(data: Data, root: Path) -> str:
    """What names the images: runs on others are other runs."""
    digest, whole = hashlib.sha256(), True
    for split in (data.train, data.queries, *([data.references] if data.references else [])):
        whole = whole and split.published.get(split.split) == (len(split.classes), len(split))
        for path, label in zip(split.paths, split.labels, strict=True):
            digest.update(f"{split.split} {os.path.relpath(path, root)} {label}\n".encode())
    return f"{'published ' * whole}{digest.hexdigest()[:12]}"


def _check_interrupted(plan: list[Experiment], output: Path, resume: bool, fresh: bool) -> None:
    if resume and fresh:
        raise _bad("--resume", "must not come with --fresh, which trains from the start")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _bad("--output", f"must be a folder to write to, got {str(output)!r}") from error
    if resume and not any((output / e.name).exists() for e in plan):
        typer.echo(f"Nothing to go on with below {output} in these settings; starting.", err=True)
    begun = [e for e in plan if (output / e.name).exists() and not finished(output / e.name)]
    if begun and not (resume or fresh):
        raise _bad(
            "--resume",
            f"must be given to go on with an interrupted run, or --fresh to train it again: "
            f"{output / begun[0].name}",
        )


def _device(name: str) -> torch.device:
    name = processes.own_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise _bad("--device", f"must be a device of torch, got {name!r} ({reason})") from None


def _data(experiment: Experiment, root: Path) -> Data:
    """The splits, after a look at whether the batch fits."""
    dataset = DATASETS[experiment.dataset]
    try:
        train = dataset(root, "train", train_view(experiment))
        queries, references = dataset.evaluation_splits(root, evaluation_view(experiment))
    except (ValueError, OSError) as error:
        raise _bad("--root", str(error)) from error
    most = PER_CLASS * len(train.classes)
    unit = PER_CLASS * processes.started()  # whole classes for each process
    if experiment.batch % unit or experiment.batch > most:
        raise _bad(
            "--batch",
            f"must be a multiple of {unit} and at most {most} ({len(train.classes)} training "
            f"classes x {PER_CLASS}), got {experiment.batch}",
        )
    return Data(train, queries, references)


def _run(experiment: Experiment, data: Data, place: Place, fresh: bool) -> None:
    """One run with its bar, and its line."""
    if fresh and processes.is_first():
        (place.folder / RESULT).unlink(missing_ok=True)  # first: without it, nothing is finished
        shutil.rmtree(place.folder, ignore_errors=True)
    result = processes.from_first(finished(place.folder))
    if result is None:
        with tqdm(
            total=experiment.iterations, unit="it", disable=not processes.is_first(), mininterval=1
        ) as bar:
            bar.set_description(experiment.name)

            def report(trainer: Trainer) -> None:
                done, speed = trainer.get_global_iteration() + 1, trainer.throughput()
                bar.set_postfix_str(
                    f"loss {float(trainer.losses['total_loss']):.3f}, "
                    f"{speed['images_per_second']:.0f} images/s, "
                    f"{speed['waiting_share']:.0%} of the time waiting for data"
                    + ", evaluating"
                    * (trainer.iteration + 1 == trainer.iterations_per_epoch),
                    refresh=False,
                )
                bar.update(done - bar.n)

            try:
                result = run(experiment, data, place, report)
            except KeyboardInterrupt:
                bar.close()
                typer.echo("Interrupted: the same command with --resume goes on.", err=True)
                raise typer.Exit(130) from None
            except (ValueError, ImportError) as error:
                bar.close()
                # a loading process puts its whole traceback before what was wrong
                typer.echo(f"Error: {str(error).strip().splitlines()[-1]}", err=True)
                raise typer.Exit(2) from error
    elif processes.is_first():
        Checkpoints(place.folder).clear()  # which a kill at the very end has left
    last, best = (f"{100 * result[e]['recall_at_1']:.1f}" for e in ("last", "best"))
    typer.echo(f"{experiment.name}: R@1 {last} after the last epoch, {best} in the best")


if __name__ == "__main__":
    typer.run(main)
