"""Finished runs of the paper's experiment beside the literature.

python -m benchmarks.tables --help

Three kinds of table, each as Markdown, CSV and LaTeX: a comparison per data set, the ablation of
S, N and P, and the embedding dimension, which is drawn as well.
"""

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer

from .data.datasets import CONFIGURATION_OF, DATASETS
from .data.faults import bad, command, output_folder
from .data.rows import COMPARED, ROWS
from .report import saving
from .report.collected import EPOCHS, PUBLISHED, environments, in_order, ours, published, recall_at
from .report.plots import plot_dimensions

RUNS = saving.RESULTS / "paper-runs"
DIMS = (64, 128, 512)
NOT_RUN, NOT_PUBLISHED = "not run", "–"
LAST, BEST = EPOCHS.values()


class Table(NamedTuple):
    """A table under its title, the name of its files, and its cells as text."""

    title: str
    name: str
    cells: pd.DataFrame


@command
def main(
    runs: Annotated[
        Path,
        typer.Option(help="Folder of the runs of benchmarks.paper."),
    ] = RUNS,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for the tables.", show_default="paper, beside the runs"),
    ] = None,
) -> None:
    """Collect finished runs into tables beside published results.

    Ours are mean ± 95 % confidence interval over seeds, of the last epoch and of the best one,
    which is chosen on the test set and so too good. Published results carry their source and are
    never taken for ours: what has not been run says "not run".
    """
    if not os.path.isdir(runs) and runs != RUNS:
        raise bad("--runs", f"must be a folder, got {str(runs)!r}")
    try:
        mine = ours(runs)
    except ValueError as error:
        raise bad("--runs", str(error)) from error
    output = runs.parent / "paper" if output is None else output
    output_folder(output)
    cells = pd.concat([published(), mine], ignore_index=True)
    tables = [*comparisons(cells), *ablations(mine), *dimensions(cells)]
    lines = ["# The paper's experiment", "", *_preface(runs)]
    files: dict[str, Any] = {"metrics.csv": cells.to_csv(index=False)}
    for table in tables:
        markdown = table.cells.to_markdown(index=False, disable_numparse=True)
        lines += [f"## {table.title}", "", markdown, ""]
        files[f"{table.name}.csv"] = table.cells.to_csv(index=False)
        files[f"{table.name}.tex"] = _latex(table)
    files["tables.md"] = "\n".join(lines)
    files["dimensions.png"] = partial(plot_dimensions, cells)
    saving.save(output, files)
    typer.echo("\n".join(lines))
    typer.echo(f"Saved {output}/tables.md, dimensions.png, and each table as CSV and LaTeX")


def comparisons(cells: pd.DataFrame) -> Iterator[Table]:
    """A row per method and result of each data set, Recall@K and MAP@R in percent."""
    for dataset in _datasets(cells):
        those = cells[cells["dataset"] == dataset]
        metrics = in_order({*map(recall_at, DATASETS[dataset].ks), *those["metric"]})
        keys = ["method", "result", "backbone", "dim", "settings", "source"]
        rows = [
            {**dict(zip(keys, key, strict=True)), **_texts(group, metrics)}
            for key, group in those.groupby(keys, sort=False, dropna=False)
        ]
        run = {
            row["dim"]
            for row in rows
            if (row["method"], row["result"], row["backbone"]) == ("MS", LAST, "BN-Inception")
        }
        rows += [
            {"method": "MS", "result": LAST, "backbone": "BN-Inception", "dim": dim}
            | {"settings": "released", "source": ""}
            | dict.fromkeys(metrics, NOT_RUN)
            for dim in DIMS
            if dim not in run
        ]
        table = pd.DataFrame(rows).sort_values("dim", kind="stable", key=pd.to_numeric)
        order = ["method", "result", "dim", "backbone", "settings", *metrics]
        yield Table(dataset, f"comparison-{dataset}", table[[*order, "source"]])


def ablations(mine: pd.DataFrame) -> Iterator[Table]:
    """All losses, wherever another than MS has run."""
    keys = ["dataset", "backbone", "dim", "settings"]
    for (dataset, backbone, dim, settings), group in mine.groupby(keys, sort=False):
        if {*group["loss"]} == {"SNP"}:
            continue  # nothing to compare it with
        metrics = in_order(group["metric"])
        rows = []
        for loss in dict.fromkeys((*COMPARED, *group["loss"])):
            row: dict[str, str] = {"loss": loss, "uses": ROWS[loss].uses if loss in ROWS else ""}
            for short, result in (("last", LAST), ("best", BEST)):
                one = group[(group["loss"] == loss) & (group["result"] == result)]
                texts = _texts(one, metrics, missing=NOT_RUN)
                row |= {f"{name} {short}": text for name, text in texts.items()}
            rows.append(row)
        title = f"{dataset}, {backbone}, {dim} dimensions, {settings}: S, N and P"
        digest = hashlib.sha256(str(settings).encode()).hexdigest()[:8]
        name = f"ablation-{dataset}-{backbone}-{dim}-{digest}".replace("/", "_")
        yield Table(title, name, pd.DataFrame(rows))


def dimensions(cells: pd.DataFrame) -> Iterator[Table]:
    """Recall@1 of MS for each embedding dimension, ours and published, for each data set."""
    ms = cells[(cells["method"] == "MS") & (cells["metric"] == "R@1")]
    columns = [PUBLISHED, *(f"{s}: {r}" for s in _our_settings(ms) for r in (LAST, BEST))]
    if len(columns) == 1:
        columns.append(LAST)
    rows = []
    for dataset in _datasets(cells):
        for dim in sorted({*DIMS, *ms["dim"].dropna().astype(int)}):
            one = ms[(ms["dataset"] == dataset) & (ms["dim"] == dim)]
            row = {"dataset": dataset, "dim": str(dim)}
            for column in columns:
                label, _, result = column.rpartition(": ")
                those = one[(one["result"] == result) & (_labels(one) == label)]
                missing = NOT_PUBLISHED if column == PUBLISHED else NOT_RUN
                row[column] = _texts(those, ["R@1"], missing)["R@1"]
            rows.append(row)
    yield Table("Recall@1 of MS against the embedding dimension", "dimensions", pd.DataFrame(rows))


def _our_settings(cells: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(_labels(cells[cells["result"] != PUBLISHED])))


def _labels(cells: pd.DataFrame) -> "pd.Series[str]":
    """Backbone and settings of our runs; empty for published results."""
    labels = cells["backbone"] + ", " + cells["settings"]
    return labels.where(cells["result"] != PUBLISHED, "")


def _datasets(cells: pd.DataFrame) -> list[str]:
    """Those of the paper, and others that were run."""
    paper = [name for name in DATASETS if name not in (*CONFIGURATION_OF, "ImageFolder")]
    return [*paper, *({*cells["dataset"]} - {*paper})]


def _texts(group: pd.DataFrame, metrics: list[str], missing: str = NOT_PUBLISHED) -> dict[str, str]:
    """Metric → "mean ± half-width (seeds)" of one method."""
    if group["metric"].duplicated().any():
        raise AssertionError(f"two results for one cell: {group.to_dict('records')}")
    found = {row["metric"]: row for _, row in group.iterrows()}
    return {name: _text(found[name]) if name in found else missing for name in metrics}


def _text(row: "pd.Series[float]") -> str:
    if pd.isna(row.get("seeds")):
        return f"{row['value']:.1f}"
    width = "" if pd.isna(row["ci"]) else f" ± {row['ci']:.1f}"
    return f"{row['value']:.1f}{width} (n={int(row['seeds'])})"


def _preface(runs: Path) -> list[str]:
    """What the numbers are."""
    found = environments(runs)
    return [
        "Recall@K and MAP@R in percent on classes that were not trained. Ours: mean ± 95 %",
        "confidence interval over n seeds, none for one. The last epoch is the honest figure;",
        "the best one is chosen on the test set, as the released code of the paper does. Published",
        "results are those of their sources and were not reproduced here; – where none is known.",
        "The authors published the configuration of CUB200 only: that of the other sets follows",
        "it, with 20,000 iterations for StanfordOnlineProducts and InShop, which is our choice.",
        "",
        *([f"Runs: {'; '.join(found)}", ""] if found else ["No run has been finished yet.", ""]),
    ]


def _latex(table: Table) -> str:
    text = table.cells.to_latex(index=False, escape=True, caption=table.title)
    return text.replace("±", r"$\pm$").replace("–", "--")


if __name__ == "__main__":
    typer.run(main)
