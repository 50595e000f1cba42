"""The paper's experiment: train on half of the classes, measure Recall@K on the others.

python -m benchmarks.paper --help
"""

import shlex
from typing import Annotated

import typer

from pml_gpw.training import processes
from pml_gpw.training.experiment import SAMPLERS

from .data import options
from .data.datasets import DATASETS
from .data.faults import bad, command, output_folder
from .data.options import configured
from .data.plan import (
    changed,
    check_batch,
    checked_device,
    checked_dims,
    checked_losses,
    chosen_experiment,
    digest_of_weights,
    identified,
    one_of,
    plan_of,
    splits_of,
)
from .measure.runs import Place, train_all
from .report.saving import RESULTS

PUBLISHED = "bn_inception-52deb4733.pth"
BACKENDS = ("auto", "faiss", "torch")


@command
def main(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
    weights: Annotated[
        str,
        typer.Option(
            help="Initial weights of the backbone: a file (the paper starts BN-Inception from "
            f"{PUBLISHED}), 'pretrained' (the library downloads its own) or 'random'."
        ),
    ],
    root: options.Root = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            show_default="released; names for WorldNames",
            help="released: the authors' published settings for CUB200. text: what the paper says "
            "(λ 1, β 50, crops of 224, random batches, average pooling, BatchNorm not frozen), "
            "else as released.",
        ),
    ] = None,
    losses: options.Losses = "SNP",
    dims: Annotated[str, typer.Option(help="Embedding dimensions, comma-separated.")] = "512",
    seeds: options.Seeds = 1,
    fresh: options.Fresh = False,
    backbone: options.Backbone = None,
    pooling: Annotated[str | None, configured("average, max, sum (of both) or own.")] = None,
    frozen_batch_norm: Annotated[bool | None, configured("Keep the running statistics.")] = None,
    memory: Annotated[
        int, typer.Option(min=0, max=10**8, help="Embeddings in a cross-batch memory; 0: none.")
    ] = 0,
    alpha: Annotated[float | None, configured("α, sharpness for positives.")] = None,
    beta: Annotated[float | None, configured("β, sharpness for negatives.")] = None,
    base: Annotated[float | None, configured("λ, where pairs begin to count.")] = None,
    epsilon: Annotated[
        float | None, configured("ε of the mining; larger keeps more.", min=0)
    ] = None,
    batch: options.Batch = None,
    iterations: options.Iterations = None,
    evaluate_every: Annotated[
        int | None, configured("Steps between evaluations, each a checkpoint.", min=1)
    ] = None,
    learning_rate: options.LearningRate = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    sampler: options.Sampler = None,
    tf32: Annotated[
        bool,
        typer.Option("--tf32", help="Let a GPU round factors to TF32; off as in the experiment."),
    ] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Train under autocast to bfloat16.")] = False,
    workers: options.Workers = 4,
    device: options.Device = "",
    backend: Annotated[
        str, typer.Option(help="Search of Recall@K: auto, faiss or torch.")
    ] = "auto",
    output: options.Output = RESULTS / "paper-runs",
) -> None:
    """Train each loss, dimension and seed on the data set; python -m benchmarks.tables compares.

    The paper starts BN-Inception from the checkpoint bn_inception-52deb4733.pth.

    A run ends in OUTPUT/<name>/seed<n>/ with result.json (Recall@K after the last epoch, and in
    the best epoch, which is chosen on the test set as the released code does), last.pt and
    best.pt (weights), logs/ (CSV, SQLite) and tensorboard/. Finished runs are not trained again,
    and interrupted ones go on where they stopped, when the command is given again.

    With torchrun --nproc-per-node N -m benchmarks.paper, N processes train together: the same
    batches, the same loss, and up to rounding the same result as one.
    """
    settings = context.params | {
        "weights": digest_of_weights(weights),
        "sampler": None if sampler is None else one_of("--sampler", sampler, SAMPLERS),
    }
    for option in ("dataset", "configuration", "dims"):  # preset, or a list
        del settings[option]
    dataset = one_of("DATASET", dataset, DATASETS)
    usual = "names" if dataset == "WorldNames" else "released"
    chosen = changed(chosen_experiment("DATASET", dataset, configuration or usual), settings)
    rows, sizes, where = checked_losses(losses), checked_dims(dims), checked_device(device)
    if 0 < memory < chosen.batch:
        raise bad("--memory", f"must be 0 or at least the batch of {chosen.batch}, got {memory}")
    backend = one_of("--backend", backend, BACKENDS)
    data = splits_of(chosen, root)
    check_batch(chosen, data)
    plan = [*plan_of(identified(chosen, data), rows, sizes, seeds)]
    output_folder(output)
    workers = options.loading(workers)
    place = Place(output, None if weights == "random" else weights, where, backend, workers)
    with processes.process_group(where):
        train_all(plan, rows, data, place, fresh)
        compare = ["python", "-m", "benchmarks.tables", "--runs", str(output)]
        typer.echo(f"Compare with: {shlex.join(compare)}")


if __name__ == "__main__":
    typer.run(main)
