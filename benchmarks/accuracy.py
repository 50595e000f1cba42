"""Which similarities matter? The eight variants of S, N, P and PML's losses by Recall@K.

python -m benchmarks.accuracy --help
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from pml_gpw.training import processes
from pml_gpw.training.environment import device_name, environment

from .data import options
from .data.datasets import CONFIGURATION_OF, DATASETS
from .data.faults import command, output_folder
from .data.plan import (
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
from .data.presets import BenchmarkExperiment, file_name, fitted, pictures, preset
from .data.rows import COMPARED, RAW, Row
from .measure import control
from .measure.raw_items import raw_metrics
from .measure.runs import Place, train_all
from .report.plots import plot_recall
from .report.saving import RESULTS, save
from .report.summaries import paired_differences, summarize, to_markdown

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
    backbone: options.Backbone = None,
    weights: Annotated[
        str,
        typer.Option(help="Initial weights: 'random', 'pretrained' (downloaded) or a file."),
    ] = "random",
    iterations: options.Iterations = None,
    batch: options.Batch = None,
    dims: options.Dims = None,
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
    rows, where = checked_losses(losses), checked_device(device)
    chosen = _chosen(dataset, backbone, digest_of_weights(weights), (resize, crop) != (None, None))
    data = splits_of(changed(chosen, {"resize": resize, "crop": crop}), root, train_share)
    if dataset not in CONFIGURATION_OF:
        chosen = fitted(chosen, len(data.train), len(data.train.classes))
    plain = chosen
    chosen = changed(chosen, {"resize": resize, "crop": crop, "dims": dims})
    chosen = changed(
        chosen, {"iterations": iterations, "batch": batch, "learning_rate": learning_rate}
    )
    check_batch(chosen, data)
    output_folder(output)
    plan = [*plan_of(identified(chosen, data), rows, [chosen.dims], seeds)]
    workers = 0 if chosen.crop is None else options.loading(workers)
    place = Place(output / "runs", None if weights == "random" else weights, where, "auto", workers)
    title = chosen.dataset if root is None or dataset == "Glyphs" else root.resolve().name
    stem = output / _stem(title, chosen, plain, rows, seeds)
    with processes.process_group(where):
        results = train_all(plan, rows, data, place, fresh, control.watch)
        if processes.is_first():
            raw = {RAW[chosen.dataset]: found} if (found := raw_metrics(data, chosen)) else {}
            lines = [{"loss": n, "seed": 0, **one} for n, one in raw.items()]
            runs = _table([*lines, *map(_row, results)], [*raw, *rows])
            watched = [one for one in plan if control.is_watched(one)]
            foot = [
                *chain(*(control.lines(place.output / w.name, w.iterations) for w in watched)),
                f"{environment('torchvision', 'pillow')}; {device_name(where)}",
            ]
            _report(runs, rows, title, chosen, seeds, foot, stem)


def _chosen(
    dataset: str, backbone: str | None, weights: str, is_cropped: bool
) -> BenchmarkExperiment:
    """The settings of a data set: of small items its own, of pictures those of the backbone."""
    configuration = CONFIGURATION_OF.get(dataset)
    if configuration is not None:
        small = replace(preset(dataset, configuration), weights=weights)
        is_plain = backbone in (None, small.backbone) and not is_cropped
        if is_plain and (weights == "random" or dataset == "WorldNames"):
            return small
    return pictures(dataset, backbone or "small_cnn", weights)


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """Loss, seed and the metrics after the last iteration."""
    metrics = {k: v for k, v in result["last"].items() if k not in ("epoch", "iteration")}
    return {"loss": result["experiment"]["loss"], "seed": result["experiment"]["seed"], **metrics}


def _table(rows: list[dict[str, Any]], order: list[str]) -> pd.DataFrame:
    """One row per loss and seed, losses in their order."""
    runs = pd.DataFrame(rows)
    runs["loss"] = pd.Categorical(runs["loss"], order, ordered=True)
    return runs.sort_values(["loss", "seed"]).astype({"loss": str}).reset_index(drop=True)


def _stem(
    title: str,
    chosen: BenchmarkExperiment,
    plain: BenchmarkExperiment,
    rows: Mapping[str, Row],
    seeds: int,
) -> str:
    """The name of the files, so that no run with other settings overwrites this one's."""
    parts = [f"accuracy-{file_name(title.lower())}-{chosen.iterations}it-{seeds}seeds"]
    small = preset(chosen.dataset, CONFIGURATION_OF.get(chosen.dataset, "pictures"))
    parts += [chosen.backbone.replace("/", "_")] * (chosen.backbone != small.backbone)
    parts += [chosen.weights.replace(":", "")] * (chosen.weights != "random")
    parts += [f"crop{chosen.crop}"] * (chosen.crop != plain.crop)
    parts += [f"batch{chosen.batch}"] * (chosen.batch != plain.batch)
    parts += [f"{chosen.dims}d"] * (chosen.dims != small.dims)
    parts += [f"lr{chosen.learning_rate:g}"] * (chosen.learning_rate != plain.learning_rate)
    only = [] if [*rows] == [*COMPARED] else ["only", *(row.file_name for row in rows.values())]
    return "-".join([*parts, *only])


def _report(
    runs: pd.DataFrame,
    rows: Mapping[str, Row],
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
        to_markdown(summary, rows, paired_differences(runs, control.OURS)),
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
