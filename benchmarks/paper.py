"""The paper's experiment: train on half of the classes, measure Recall@K on the others.

python -m benchmarks.paper --help
"""

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from pml_gpw.training import Checkpoints, processes

from .contenders import CONTENDERS
from .experiment import RESULT, Data, Place, finished, run
from .faults import bad, command, within
from .plan import (
    DATASETS,
    check_interrupted,
    checked_device,
    checked_dims,
    checked_losses,
    chosen_experiment,
    digest_of_images,
    digest_of_weights,
    plan_of,
    splits_of,
)
from .presets import PER_CLASS, SAMPLERS, Experiment, shortened
from .trainer import Trainer

RUNS = Path(__file__).parent / "results" / "paper-runs"
PUBLISHED = "bn_inception-52deb4733.pth"
BACKENDS = ("auto", "faiss", "torch")
CONFIGURED = "by configuration"  # shown as the default of options that change one setting


@command
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
            "(λ 1, β 50, crops of 224, random batches, average pooling, BatchNorm not frozen), "
            "else as released."
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
        int, typer.Option(min=0, max=10**8, help="Embeddings in a cross-batch memory; 0: none.")
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
    resize: Annotated[
        int, typer.Option(min=8, max=4096, help="Shorter side before cropping.")
    ] = 256,
    crop: Annotated[
        int | None,
        typer.Option(
            min=8, max=4096, help="Pixels of the network's image.", show_default=CONFIGURED
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help=f"{' or '.join(SAMPLERS)}: use groups of {PER_CLASS} images up before any comes "
            "again, or draw each batch from all images.",
            show_default=CONFIGURED,
        ),
    ] = None,
    tf32: Annotated[
        bool,
        typer.Option("--tf32", help="Let a GPU round factors to TF32; off as in the experiment."),
    ] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Train under autocast to bfloat16.")] = False,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes that load images.")] = 4,
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
    chosen = chosen_experiment(dataset, configuration, digest_of_weights(weights), backbone)
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
        "sampler": sampler,
    }
    chosen = replace(
        chosen if iterations is None else shortened(chosen, iterations),
        memory=memory,
        resize=resize,
        amp=amp,
        tf32=tf32,
        **{name: value for name, value in given.items() if value is not None},
    )
    names, sizes, where = checked_losses(losses), checked_dims(dims), checked_device(device)
    if 0 < memory < chosen.batch:
        raise bad("--memory", f"must be 0 or at least the batch of {chosen.batch}, got {memory}")
    if chosen.sampler not in SAMPLERS:
        allowed = ", ".join(SAMPLERS)
        raise bad("--sampler", f"must be one of {allowed}, got {chosen.sampler!r}")
    if backend not in BACKENDS:
        raise bad("--backend", f"must be one of {', '.join(BACKENDS)}, got {backend!r}")
    data = splits_of(chosen, root)
    plan = [*plan_of(replace(chosen, data=digest_of_images(data, root)), names, sizes, seeds)]
    check_interrupted(plan, output, resume, fresh)
    place = Place(output, None if weights == "random" else weights, where, backend, workers)
    with processes.process_group(where):
        for experiment in plan:
            folder = output / experiment.name
            with within(folder):
                _run(experiment, data, place._replace(folder=folder), fresh)
        compare = ["python", "-m", "benchmarks.tables", "--runs", str(output)]
        typer.echo(f"Compare with: {shlex.join(compare)}")


def _run(experiment: Experiment, data: Data, place: Place, fresh: bool) -> None:
    """One run with its bar, and its line."""
    if fresh and processes.is_first():
        (place.folder / RESULT).unlink(missing_ok=True)  # first: without it, nothing is finished
        if place.folder.exists():  # what cannot be removed must not be gone on with
            shutil.rmtree(place.folder)
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
