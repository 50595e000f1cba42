"""Which similarities matter? The eight variants of S, N, P and PML's losses by Recall@K.

python -m benchmarks.accuracy --help
"""

import re
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from pml_gpw.evaluation import retrieval_metrics
from pml_gpw.training import processes
from pml_gpw.training.environment import device_name, environment

from .data import options
from .data.contenders import CONTENDERS, RAW_PIXELS
from .data.datasets import DATASETS, Data
from .data.faults import command, output_folder
from .data.plan import (
    MOST_DIMS,
    changed,
    check_batch,
    checked_device,
    checked_losses,
    digest_of_weights,
    identified,
    one_of,
    plan_of,
    splits_of,
)
from .data.presets import BenchmarkExperiment, fitted, pictures, preset
from .measure import control
from .measure.runs import Place, train_all
from .report.plots import plot_recall
from .report.saving import RESULTS, save
from .report.summaries import paired_differences, summarize, to_markdown

SMALL = preset("Glyphs", "small")
FEW_SEEDS = (
    " Intervals of so few seeds are wide (with two, 9 standard deviations; with three, 2.5; with "
    "five, 1.2): more seeds tell more."
)


@command
def main(
    dataset: Annotated[
        str, typer.Option(help=f"One of: {', '.join(DATASETS)}; ImageFolder is a folder of yours.")
    ] = "Glyphs",
    root: options.Root = None,
    train_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the classes of an ImageFolder, the first by name, that is trained.",
            show_default="0.5, or its folders train and test",
        ),
    ] = None,
    losses: options.Losses = "all",
    seeds: options.Seeds = 3,
    backbone: options.Backbone = SMALL.backbone,
    weights: Annotated[
        str,
        typer.Option(help="Initial weights: 'random', 'pretrained' (downloaded) or a file."),
    ] = "random",
    iterations: options.Iterations = None,
    batch: options.Batch = None,
    dims: Annotated[
        int, typer.Option(min=1, max=MOST_DIMS, help="Embedding dimensions.")
    ] = SMALL.dims,
    learning_rate: options.LearningRate = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    workers: options.Workers = None,
    device: options.Device = "",
    output: options.Output = RESULTS,
    fresh: options.Fresh = False,
) -> None:
    """Train each loss on some classes and measure Recall@1,2,4,8 and MAP@R on others.

    The variants none, S, N, P, SN, SP, NP, SNP use just those similarities of the paper (Wang et
    al., CVPR 2019): S the pair's own, N relative to the anchor's negatives, P relative to its
    positives. --dataset ImageFolder --root FOLDER takes pictures of yours, a folder per class. An
    interrupted call goes on where it stopped when it is given again. With torchrun
    --nproc-per-node N -m benchmarks.accuracy, N processes train together to the same result.
    """
    dataset = one_of("--dataset", dataset, DATASETS)
    names, where = checked_losses(losses), checked_device(device)
    chosen = SMALL
    if (dataset, backbone, weights, crop, resize) != (
        "Glyphs",
        SMALL.backbone,
        "random",
        None,
        None,
    ):
        chosen = pictures(dataset, backbone, digest_of_weights(weights))
    chosen = changed(chosen, {"resize": resize, "crop": crop, "dims": dims})
    data = splits_of(chosen, root, train_share)
    if dataset != "Glyphs":
        chosen = fitted(chosen, len(data.train), len(data.train.classes))
    plain = chosen
    chosen = changed(
        chosen, {"iterations": iterations, "batch": batch, "learning_rate": learning_rate}
    )
    check_batch(chosen, data)
    output_folder(output)
    plan = [*plan_of(identified(chosen, data), names, [dims], seeds)]
    workers = 0 if chosen.crop is None else options.loading(workers)
    place = Place(output / "runs", None if weights == "random" else weights, where, "auto", workers)
    title = chosen.dataset if root is None or dataset == "Glyphs" else root.resolve().name
    with processes.process_group(where):
        results = train_all(plan, data, place, fresh, control.watch)
        if processes.is_first():
            rows = [*_raw_pixels(data, chosen), *map(_row, results)]
            watched = [one for one in plan if control.is_watched(one)]
            foot = [
                *chain(*(control.lines(place.output / w.name, w.iterations) for w in watched)),
                f"{environment('torchvision', 'pillow')}; {device_name(where)}",
            ]
            stem = output / _stem(title, chosen, plain, names, seeds)
            _report(_table(rows, [RAW_PIXELS, *names]), title, chosen, seeds, foot, stem)


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """Loss, seed and the metrics after the last iteration."""
    metrics = {k: v for k, v in result["last"].items() if k not in ("epoch", "iteration")}
    return {"loss": result["experiment"]["loss"], "seed": result["experiment"]["seed"], **metrics}


def _raw_pixels(data: Data, chosen: BenchmarkExperiment) -> list[dict[str, Any]]:
    """The metrics of the test images themselves, flattened, where they are small enough."""
    if chosen.crop is not None:
        return []
    images = torch.stack([data.queries[i][0] for i in range(len(data.queries))])
    metrics = retrieval_metrics(images.flatten(1), data.queries.labels, ks=data.queries.ks)
    return [{"loss": RAW_PIXELS, "seed": 0, **metrics}]


def _table(rows: list[dict[str, Any]], order: list[str]) -> pd.DataFrame:
    """One row per loss and seed, losses in their order."""
    runs = pd.DataFrame(rows)
    runs["loss"] = pd.Categorical(runs["loss"], order, ordered=True)
    return runs.sort_values(["loss", "seed"]).astype({"loss": str}).reset_index(drop=True)


def _stem(
    title: str,
    chosen: BenchmarkExperiment,
    plain: BenchmarkExperiment,
    names: list[str],
    seeds: int,
) -> str:
    """The name of the files, so that no run with other settings overwrites this one's."""
    name = re.sub(r"[^\w.-]+", "_", title.lower())
    parts = [f"accuracy-{name}-{chosen.iterations}it-{seeds}seeds"]
    parts += [chosen.backbone.replace("/", "_")] * (chosen.backbone != SMALL.backbone)
    parts += [chosen.weights.replace(":", "")] * (chosen.weights != "random")
    parts += [f"crop{chosen.crop}"] * (chosen.crop != plain.crop)
    parts += [f"batch{chosen.batch}"] * (chosen.batch != plain.batch)
    parts += [f"{chosen.dims}d"] * (chosen.dims != SMALL.dims)
    parts += [f"lr{chosen.learning_rate:g}"] * (chosen.learning_rate != plain.learning_rate)
    return "-".join(parts if names == list(CONTENDERS) else [*parts, "only", *names])


def _report(
    runs: pd.DataFrame,
    name: str,
    chosen: BenchmarkExperiment,
    seeds: int,
    foot: list[str],
    stem: Path,
) -> None:
    """Print the table, save it as Markdown and CSV, and draw it."""
    summary = summarize(runs)
    title = (
        f"{name}: {chosen.iterations} iterations of {chosen.batch}, {chosen.backbone}, "
        f"{chosen.dims} dimensions, {seeds} seed{'s' * (seeds > 1)}"
    )
    lines = [
        f"### {title}",
        "",
        "Recall@K and MAP@R (%) on classes not seen in training, after the last iteration; "
        f"mean ± 95 % confidence interval over seeds. R@1 − {control.OURS}: the same of the "
        "differences, in points, seed by seed." + FEW_SEEDS * (1 < seeds < 5),
        "",
        to_markdown(summary, paired_differences(runs, control.OURS)),
        "",
        *foot,
        "",
    ]
    text = "\n".join(lines)
    save(
        stem.parent,
        {
            f"{stem.name}.md": text,
            f"{stem.name}.csv": summary.to_csv(index=False),
            f"{stem.name}-runs.csv": runs.to_csv(index=False),
            f"{stem.name}.png": partial(plot_recall, summary, title),
        },
    )
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md, .csv, -runs.csv and .png")


if __name__ == "__main__":
    typer.run(main)
