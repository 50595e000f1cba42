"""Which similarities matter? The eight variants of S, N, P and PML's losses by Recall@K.

python -m benchmarks.accuracy --help
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from pml_gpw.datasets import Glyphs

from .contenders import CONTENDERS
from .files import write_atomically
from .plots import plot_recall
from .runs import all_runs
from .tables import control_lines, environment, summarize, to_markdown
from .training import PER_CLASS, Settings, Splits

RESULTS = Path(__file__).parent / "results"
DATASETS = {"glyphs": Glyphs}


def main(
    dataset: Annotated[str, typer.Option(help=f"One of: {', '.join(DATASETS)}.")] = "glyphs",
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data set.", show_default="the user's cache")
    ] = None,
    losses: Annotated[
        str, typer.Option(help=f"Comma-separated, out of: {', '.join(CONTENDERS)}.")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per loss, with seeds 0, 1, ….")] = 3,
    iterations: Annotated[int, typer.Option(min=1, help="Training steps per run.")] = 150,
    batch: Annotated[
        int, typer.Option(min=PER_CLASS, help=f"Images per step, {PER_CLASS} of each class.")
    ] = 80,
    dims: Annotated[int, typer.Option(min=1, help="Embedding dimensions.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-8, help="Of Adam.")] = 2e-3,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    output: Annotated[Path, typer.Option(help="Folder for tables, plot and logs.")] = RESULTS,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what an earlier call has finished.")
    ] = False,
) -> None:
    """Train each loss on some classes and measure Recall@1,2,4,8 on others.

    The variants none, S, N, P, SN, SP, NP, SNP use just those similarities of the paper (Wang et
    al., CVPR 2019): S the pair's own, N relative to the anchor's negatives, P relative to its
    positives. An interrupted call goes on where it stopped when it is given again.
    """
    settings = Settings(dataset, iterations, batch, dims, learning_rate, device)
    names = _checked(settings, losses)
    splits = Splits(*(DATASETS[dataset](root, split) for split in ("train", "test")))
    _check_batch(batch, splits)
    runs = all_runs(names, seeds, settings, splits, output / "runs", fresh)
    _report(runs, settings, seeds, output)


def _checked(settings: Settings, losses: str) -> list[str]:
    """The names of the losses, after a look at the options that typer cannot check."""
    if settings.dataset not in DATASETS:
        raise typer.BadParameter(
            f"must be one of {', '.join(DATASETS)}, got {settings.dataset!r}",
            param_hint="--dataset",
        )
    if settings.batch % PER_CLASS:
        raise typer.BadParameter(
            f"must be a multiple of {PER_CLASS}, got {settings.batch}", param_hint="--batch"
        )
    try:
        torch.empty(0, device=settings.device)
    except (RuntimeError, AssertionError) as error:
        raise typer.BadParameter(
            f"must be a device that torch has here, got {settings.device!r} "
            f"({str(error).splitlines()[0]})",
            param_hint="--device",
        ) from None
    names = list(CONTENDERS) if losses == "all" else [n.strip() for n in losses.split(",")]
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise typer.BadParameter(
            f"must be out of {', '.join(CONTENDERS)}, got {', '.join(unknown)}",
            param_hint="--losses",
        )
    return list(dict.fromkeys(names))


def _check_batch(batch: int, splits: Splits) -> None:
    classes = len(splits.train.classes)  # type: ignore[attr-defined]
    if batch > classes * PER_CLASS:
        raise typer.BadParameter(
            f"must be at most {classes * PER_CLASS} ({classes} training classes x {PER_CLASS}), "
            f"got {batch}",
            param_hint="--batch",
        )


def _report(runs: pd.DataFrame, settings: Settings, seeds: int, output: Path) -> None:
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
        environment(),
        "",
    ]
    text = "\n".join(lines)
    stem = f"accuracy-{settings.dataset}-{settings.iterations}it-{seeds}seeds"
    write_atomically(output / f"{stem}.md", lambda path: path.write_text(text, encoding="utf-8"))
    write_atomically(output / f"{stem}.csv", lambda path: summary.to_csv(path, index=False))
    write_atomically(output / f"{stem}-runs.csv", lambda path: runs.to_csv(path, index=False))
    write_atomically(output / f"{stem}.png", lambda path: plot_recall(summary, title, path))
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {output / stem}.md, .csv, -runs.csv and .png")


if __name__ == "__main__":
    typer.run(main)
