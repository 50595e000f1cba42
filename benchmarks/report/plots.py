"""Figures of the benchmark tables."""

from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pml_gpw.analysis.colours import DARK, LIGHT, MIDDLE


def plot_recall(summary: pd.DataFrame, title: str, path: Path) -> None:
    """Recall@1 of each loss, mean and 95 % confidence interval, saved as PNG."""
    rows = summary.iloc[::-1]
    figure = Figure(figsize=(7, 0.36 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(
        100 * rows["recall_at_1"],
        range(len(rows)),
        xerr=100 * rows["recall_at_1_ci"].fillna(0),
        fmt="o",
        color=DARK,
        ecolor=LIGHT,
        capsize=3,
    )
    axes.set_yticks(range(len(rows)), rows["loss"])
    axes.set_xlabel("Recall@1 on unseen classes, % (mean and 95 % CI over seeds)")
    styled(axes, title, axis="x")
    figure.savefig(path, dpi=150)


def plot_speed(rows: pd.DataFrame, path: Path) -> None:
    """Time of mined loss steps against batch size, and their peak memory; log-log, as PNG."""
    steps = rows[(rows["task"] == "loss") & rows["mined"].astype(bool)]
    panels = {
        "Loss step, trained-like": ("trained-like", "ms", "milliseconds"),
        "Loss step, random": ("random", "ms", "milliseconds"),
        "Peak memory, trained-like": ("trained-like", "peak_mb", "MB beyond the inputs"),
    }
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    for axes, (title, (kind, column, label)) in zip(
        figure.subplots(1, len(panels)), panels.items(), strict=True
    ):
        table = steps[steps["kind"] == kind].reindex(columns=["method", "N", column]).dropna()
        methods = steps["method"].unique()
        for style, name in zip(_styles(), methods, strict=False):
            line = table[table["method"] == name]
            axes.plot(line["N"], line[column], label=name, **style)
        if len(table):
            axes.set(xscale="log", yscale="log")
        axes.set(xlabel="batch size N", ylabel=label)
        styled(axes, title, which="both")
    _legend_below(figure)
    figure.savefig(path, dpi=150)


def plot_counts(rows: pd.DataFrame, path: Path) -> None:
    """Operations, bytes moved and the share of the products against batch size, as PNG."""
    steps = rows[rows["task"] == "counts"]
    panels = {
        "Operations a step": "operations",
        "Megabytes read and written": "moved_mb",
        "Share of products in the whole (model)": "product_share",
    }
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (title, column) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for style, name in zip(_styles(), steps["method"].unique(), strict=False):
            line = steps[steps["method"] == name]
            axes.plot(line["N"], line[column], label=name, **style)
        axes.set(xscale="log", xlabel="batch size N", ylim=(0, None))
        if column == "moved_mb":
            axes.set(yscale="log", ylim=(None, None))
        styled(axes, title, which="both")
    _legend_below(figure)
    figure.suptitle("Counted, no GPU", x=0.01, ha="left", fontsize="medium")
    figure.savefig(path, dpi=150)


def styled(axes: Axes, title: str = "", **grid: Any) -> None:
    """What all axes have: a title on the left, a light grid, no frame above and on the right."""
    axes.set_title(title, loc="left", fontsize="medium")
    axes.grid(color="0.9", **grid)
    axes.spines[["top", "right"]].set_visible(False)


def _legend_below(figure: Figure) -> None:
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)


def _styles() -> list[dict[str, str]]:
    """Lines that are told apart by more than their colours."""
    kinds = [(DARK, "o", "-"), (DARK, "s", "--"), (DARK, "X", ":"), (MIDDLE, "^", "-")]
    kinds += [(MIDDLE, "v", "--"), (MIDDLE, "P", ":"), (LIGHT, "D", "-"), (LIGHT, "", "-.")]
    return [{"color": c, "marker": m, "linestyle": line} for c, m, line in kinds]


def plot_dimensions(cells: pd.DataFrame, path: Path) -> None:
    """Recall@1 of MS against the embedding dimension, a panel per data set; as PNG.

    ``cells`` as of ``benchmarks.collected``; published results are hollow.
    """
    ms = cells[(cells["method"] == "MS") & (cells["metric"] == "R@1")].assign(
        dim=lambda table: table["dim"].astype(float),
        settings=lambda table: (table["backbone"] + ", " + table["settings"]).where(
            table["result"] != "published", ""
        ),
    )
    datasets = [*ms["dataset"].unique()]
    kinds = [*ms[["result", "settings"]].drop_duplicates().itertuples(index=False, name=None)]
    styles = dict(zip(kinds, cycle(_styles()), strict=False))  # the same in each panel
    figure = Figure(figsize=(3.2 * len(datasets), 3.2 + 0.35 * len(kinds)), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for axes, dataset in zip(panels, datasets, strict=True):
        panel = ms[ms["dataset"] == dataset]
        for (result, settings), line in panel.groupby(["result", "settings"], sort=False):
            line = line.sort_values("dim")
            axes.errorbar(
                line["dim"],
                line["value"],
                yerr=None if result == "published" else line["ci"].fillna(0),
                label=fill(": ".join(part for part in (settings, result) if part), 120),
                capsize=3,
                fillstyle="none" if result == "published" else "full",
                **styles[result, settings],
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks([64, 128, 256, 512], ["64", "128", "256", "512"])
        axes.set_xlim(min(50, 0.8 * panel["dim"].min()), max(650, 1.25 * panel["dim"].max()))
        axes.set_xlabel("embedding dimension")
        styled(axes, dataset)
    panels[0].set_ylabel("Recall@1 of MS, %")
    found = {
        name: h for a in panels for h, name in zip(*a.get_legend_handles_labels(), strict=True)
    }
    figure.legend([*found.values()], [*found], loc="outside lower center", frameon=False)
    figure.savefig(path, dpi=150)
