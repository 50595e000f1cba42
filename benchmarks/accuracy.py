"""Which similarities matter? The eight variants of S, N, P and PML's losses by Recall@K.

python -m benchmarks.accuracy --help
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.training import processes
from pml_gpw.training.environment import device_name, environment
from pml_gpw.training.files import write_atomically

from .contenders import CONTENDERS, RAW_PIXELS
from .faults import command, output_folder
from .plan import (
    DATASETS,
    MOST_DIMS,
    changed,
    checked_device,
    checked_losses,
    chosen_experiment,
    digest_of_data,
    plan_of,
    splits_of,
)
from .plots import plot_recall
from .presets import PER_CLASS, BenchmarkExperiment, preset
from .runs import Data, Place, train_all
from .summaries import control_lines, summarize, to_markdown

RESULTS = Path(__file__).parent / "results"
SMALL = preset("Glyphs", "small")


@command
def main(
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")] = "Glyphs",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the user's cache")
    ] = None,
    losses: Annotated[
        str, typer.Option(help=f"all, or comma-separated out of: {', '.join(CONTENDERS)}.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per loss, with seeds 0, 1, ….")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="Training steps per run.")] = (
        SMALL.iterations
    ),
    batch: Annotated[
        int, typer.Option(min=PER_CLASS, help=f"Images per step, {PER_CLASS} of each class.")
    ] = SMALL.batch,
    dims: Annotated[
        int, typer.Option(min=1, max=MOST_DIMS, help="Embedding dimensions.")
    ] = SMALL.dims,
    learning_rate: Annotated[
        float, typer.Option(min=1e-8, max=1, help="Of Adam.")
    ] = SMALL.learning_rate,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    output: Annotated[Path, typer.Option(help="Folder for tables, plot and logs.")] = RESULTS,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what an earlier call has finished.")
    ] = False,
) -> None:
    """Train each loss on some classes and measure Recall@1,2,4,8 and MAP@R on others.

    The variants none, S, N, P, SN, SP, NP, SNP use just those similarities of the paper (Wang et
    al., CVPR 2019): S the pair's own, N relative to the anchor's negatives, P relative to its
    positives. An interrupted call goes on where it stopped when it is given again. With torchrun
    --nproc-per-node N -m benchmarks.accuracy, N processes train together to the same result.
    """
    chosen = changed(
        chosen_experiment("--dataset", dataset, "small"),
        iterations=iterations,
        batch=batch,
        dims=dims,
        learning_rate=learning_rate,
    )
    names, where = checked_losses(losses), checked_device(device)
    data = splits_of(chosen, root)
    output_folder(output)
    chosen = replace(chosen, data=digest_of_data(data))
    plan = [*plan_of(chosen, names, [dims], seeds)]
    with processes.process_group(where):
        results = train_all(plan, data, Place(output / "runs", None, where), fresh)
        if processes.is_first():
            runs = _table([_raw_pixels(data), *map(_row, results)], [RAW_PIXELS, *names])
            _report(runs, chosen, seeds, where, output / _stem(chosen, names, seeds))


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """Loss, seed and the metrics after the last iteration."""
    metrics = {k: v for k, v in result["last"].items() if k not in ("epoch", "iteration")}
    return {"loss": result["experiment"]["loss"], "seed": result["experiment"]["seed"], **metrics}


def _raw_pixels(data: Data) -> dict[str, Any]:
    """The metrics of the test images themselves, flattened, by cosine similarity."""
    images = torch.stack([data.queries[i][0] for i in range(len(data.queries))])
    metrics = retrieval_metrics(images.flatten(1), data.queries.labels, ks=data.queries.ks)
    return {"loss": RAW_PIXELS, "seed": 0, **metrics}


def _table(rows: list[dict[str, Any]], order: list[str]) -> pd.DataFrame:
    """One row per loss and seed, losses in their order."""
    runs = pd.DataFrame(rows)
    runs["loss"] = pd.Categorical(runs["loss"], order, ordered=True)
    return runs.sort_values(["loss", "seed"]).astype({"loss": str}).reset_index(drop=True)


def _stem(chosen: BenchmarkExperiment, names: list[str], seeds: int) -> str:
    """The name of the files, so that no run with other settings overwrites this one's."""
    parts = [f"accuracy-{chosen.dataset.lower()}-{chosen.iterations}it-{seeds}seeds"]
    parts += [f"batch{chosen.batch}"] * (chosen.batch != SMALL.batch)
    parts += [f"{chosen.dims}d"] * (chosen.dims != SMALL.dims)
    parts += [f"lr{chosen.learning_rate:g}"] * (chosen.learning_rate != SMALL.learning_rate)
    return "-".join(parts if names == list(CONTENDERS) else [*parts, "only", *names])


def _report(
    runs: pd.DataFrame, chosen: BenchmarkExperiment, seeds: int, where: torch.device, stem: Path
) -> None:
    """Print the table, save it as Markdown and CSV, and draw it."""
    summary = summarize(runs)
    title = (
        f"{chosen.dataset}: {chosen.iterations} iterations of {chosen.batch}, "
        f"{chosen.dims} dimensions, {seeds} seed{'s' * (seeds > 1)}"
    )
    lines = [
        f"### {title}",
        "",
        "Recall@K and MAP@R (%) on classes not seen in training, after the last iteration; "
        "mean ± 95 % confidence interval over seeds.",
        "",
        to_markdown(summary),
        "",
        *control_lines(runs),
        f"{environment('pillow')}; {device_name(where)}",
        "",
    ]
    text = "\n".join(lines)
    for ending, write in {
        ".md": lambda path: path.write_text(text, encoding="utf-8"),
        ".csv": lambda path: summary.to_csv(path, index=False),
        "-runs.csv": lambda path: runs.to_csv(path, index=False),
        ".png": lambda path: plot_recall(summary, title, path),
    }.items():
        write_atomically(stem.with_name(stem.name + ending), write)
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md, .csv, -runs.csv and .png")


if __name__ == "__main__":
    typer.run(main)
