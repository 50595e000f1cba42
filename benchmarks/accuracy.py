"""Which similarities matter? The eight variants of S, N, P and PML's losses by Recall@K.

python -m benchmarks.accuracy --help
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from pml_gpw.datasets import Glyphs
from pml_gpw.training import processes

from .contenders import CONTENDERS
from .faults import bad, command, output_folder, usable_device
from .files import write_atomically
from .plots import plot_recall
from .presets import PER_CLASS
from .runs import all_runs
from .summaries import control_lines, device_name, environment, summarize, to_markdown
from .training import Settings, Splits

BATCH, DIMS, LEARNING_RATE = 80, 128, 2e-3
RESULTS = Path(__file__).parent / "results"
DATASETS = {"glyphs": Glyphs}


@command
def main(
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")] = "glyphs",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the user's cache")
    ] = None,
    losses: Annotated[
        str, typer.Option(help=f"all, or comma-separated out of: {', '.join(CONTENDERS)}.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per loss, with seeds 0, 1, ….")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="Training steps per run.")] = 150,
    batch: Annotated[
        int, typer.Option(min=PER_CLASS, help=f"Images per step, {PER_CLASS} of each class.")
    ] = BATCH,
    dims: Annotated[int, typer.Option(min=1, max=65_536, help="Embedding dimensions.")] = DIMS,
    learning_rate: Annotated[float, typer.Option(min=1e-8, max=1, help="Of Adam.")] = LEARNING_RATE,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    output: Annotated[Path, typer.Option(help="Folder for tables, plot and logs.")] = RESULTS,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what an earlier call has finished.")
    ] = False,
) -> None:
    """Train each loss on some classes and measure Recall@1,2,4,8 on others.

    The variants none, S, N, P, SN, SP, NP, SNP use just those similarities of the paper (Wang et
    al., CVPR 2019): S the pair's own, N relative to the anchor's negatives, P relative to its
    positives. An interrupted call goes on where it stopped when it is given again. With torchrun
    --nproc-per-node N -m benchmarks.accuracy, N processes train together to the same result.
    """
    folder = None if root is None else str(root)
    device = processes.local_device(device)
    settings = Settings(dataset, folder, iterations, batch, dims, learning_rate, device)
    names = _checked(settings, losses)
    splits = _splits(settings)
    output_folder(output)
    with processes.process_group(torch.device(device)):
        runs = all_runs(names, seeds, settings, splits, output / "runs", fresh)
        if processes.is_first():
            _report(runs, settings, seeds, output / _stem(settings, names, seeds))


def _checked(settings: Settings, losses: str) -> list[str]:
    """The names of the losses, after a look at the options that typer cannot check."""
    if settings.dataset not in DATASETS:
        raise bad("--dataset", f"must be one of {', '.join(DATASETS)}, got {settings.dataset!r}")
    unit = PER_CLASS * processes.launched_processes()  # whole classes for each process
    if settings.batch % unit:
        raise bad("--batch", f"must be a multiple of {unit}, got {settings.batch}")
    usable_device(settings.device)
    names = list(CONTENDERS) if losses == "all" else [n.strip() for n in losses.split(",")]
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        got = ", ".join(map(repr, unknown))
        raise bad("--losses", f"must be all, or out of {', '.join(CONTENDERS)}, got {got}")
    return list(dict.fromkeys(names))


def _splits(settings: Settings) -> Splits:
    """Train and test split, after a look at whether the batch fits."""
    try:
        splits = Splits(*(DATASETS[settings.dataset](settings.root, s) for s in ("train", "test")))
    except (ValueError, OSError) as error:
        raise bad("--root", str(error)) from error
    classes = len(splits.train.classes)  # type: ignore[attr-defined]
    if settings.batch > classes * PER_CLASS:
        raise bad(
            "--batch",
            f"must be at most {classes * PER_CLASS} ({classes} training classes x {PER_CLASS}), "
            f"got {settings.batch}",
        )
    return splits


def _stem(settings: Settings, names: list[str], seeds: int) -> str:
    """The name of the files, so that no run with other settings overwrites this one's."""
    parts = [f"accuracy-{settings.dataset}-{settings.iterations}it-{seeds}seeds"]
    parts += [f"batch{settings.batch}"] * (settings.batch != BATCH)
    parts += [f"{settings.dims}d"] * (settings.dims != DIMS)
    parts += [f"lr{settings.learning_rate:g}"] * (settings.learning_rate != LEARNING_RATE)
    return "-".join(parts if names == list(CONTENDERS) else [*parts, "only", *names])


def _report(runs: pd.DataFrame, settings: Settings, seeds: int, stem: Path) -> None:
    """Print the table, save it as Markdown and CSV, and draw it."""
    summary = summarize(runs)
    title = (
        f"{settings.dataset}: {settings.iterations} iterations of {settings.batch}, "
        f"{settings.dims} dimensions, {seeds} seed{'s' * (seeds > 1)}"
    )
    lines = [
        f"### {title}",
        "",
        "Recall@K (%) on classes not seen in training, after the last iteration; "
        "mean ± 95 % confidence interval over seeds.",
        "",
        to_markdown(summary),
        "",
        *control_lines(runs),
        f"{environment('pillow')}; {device_name(torch.device(settings.device))}",
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
