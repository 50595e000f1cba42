"""Figures of a tuning; told apart by shape and filling as well as by colour."""

import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pml_gpw.analysis.colours import DARK, FIELD, LIGHT, MIDDLE

from .plots import styled

SYMBOLS = {
    "alpha": "α",
    "beta": "β",
    "base": "λ",
    "epsilon": "ε",
    "pos_margin": "pos. margin",
    "neg_margin": "neg. margin",
}
"""How tables and figures name hyper-parameters."""
METRICS = {"recall_at_1": "Recall@1", "map_at_r": "MAP@R"}
COLOURS = {"default": (MIDDLE, "white"), "tuned": (DARK, DARK)}
"""Of lines and of the inside of markers."""
OFFSETS = {"default": -0.14, "tuned": 0.14}


def plot_tests(summary: pd.DataFrame, path: Path) -> None:
    """Recall@1 and MAP@R of each row on the test classes, default and tuned; saved as PNG.

    ``summary`` as of ``benchmarks.tuning_report``.
    """
    figure, _ = _two_panels(summary, [*summary["row"]], "on unseen classes, % (mean, 95 % CI)")
    figure.savefig(path, dpi=150)


def plot_differences(table: pd.DataFrame, path: Path) -> None:
    """What each similarity adds, default and tuned; saved as PNG."""
    labels = [f"{row} − {other}" for row, other in zip(table["row"], table["without"], strict=True)]
    labels = [f"{a}:  {b}" for a, b in zip(table["letter"], labels, strict=True)]
    figure, panels = _two_panels(table, labels, "points (mean of pairs, 95 % CI)")
    for axes in panels:
        axes.axvline(0, color="black", linewidth=0.8)
    figure.savefig(path, dpi=150)


def plot_trials(trials: pd.DataFrame, path: Path) -> None:
    """The objective of each trial and the best so far, a panel for each row; saved as PNG."""
    tuned = [name for name, group in trials.groupby("row", sort=False) if len(group) > 1]
    columns = min(4, max(len(tuned), 1))
    lines = max(math.ceil(len(tuned) / columns), 1)
    figure = Figure(figsize=(2.6 * columns, 2.1 * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in panels[len(tuned) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, tuned, strict=False):
        group = trials[trials["row"] == name]
        number, value = group["trial"] + 1, 100 * group["map_at_r"]
        axes.plot(number, value, ".", color=LIGHT, label="trial")
        axes.step(number, value.cummax(), color=DARK, where="post", label="best so far")
        first = value.iloc[0]
        axes.axhline(first, color=MIDDLE, linestyle=":", label="defaults (first trial)")
        styled(axes, str(name))
    figure.supxlabel("trial", fontsize="medium")
    figure.supylabel("validation MAP@R, %", fontsize="medium")
    _legend(figure, panels[0])
    figure.savefig(path, dpi=150)


def plot_importances(parameters: pd.DataFrame, path: Path) -> None:
    """The importance of each hyper-parameter of each row, as shades and numbers; saved as PNG."""
    known = parameters.dropna(subset="importance")
    rows, names = [*known["row"].unique()], [*known["parameter"].unique()]
    size = 0.9 * max(len(names), 1) + 2, 0.36 * max(len(rows), 1) + 1.4
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    table = known.pivot_table("importance", "row", "parameter").reindex(index=rows, columns=names)
    if len(rows):
        axes.imshow(table.to_numpy(float), cmap=FIELD, vmin=0, vmax=1, aspect="auto")
    for i, j in ((i, j) for i in range(len(rows)) for j in range(len(names))):
        value = table.iloc[i, j]
        if value == value:
            shade = "white" if value > 0.6 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=shade)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(names)), [SYMBOLS.get(name, name) for name in names])
    axes.set_title("Share in the variance of MAP@R (fANOVA)", loc="left", fontsize="medium")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.savefig(path, dpi=150)


def _two_panels(table: pd.DataFrame, labels: list[str], unit: str) -> tuple[Figure, list[Axes]]:
    """Recall@1 and MAP@R side by side, one line for each label, the first at the top."""
    names = [*dict.fromkeys(labels)]
    figure = Figure(figsize=(9, 0.36 * max(len(names), 1) + 1.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
        _intervals(axes, table, metric, names, labels)
        axes.set_xlabel(f"{label}, {unit}")
        styled(axes, axis="x")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(max(len(names), 1) - 0.5, -0.5)
    _legend(figure, panels[0])
    return figure, [*panels]


def _intervals(
    axes: Axes, table: pd.DataFrame, metric: str, names: list[str], labels: list[str]
) -> None:
    """Means and intervals of both kinds of parameters, one line for each name."""
    places = pd.Series(labels, index=table.index).map({name: n for n, name in enumerate(names)})
    for kind, (colour, inside) in COLOURS.items():
        part = table[table["parameters"] == kind]
        axes.errorbar(
            100 * part[metric],
            places[part.index] + OFFSETS[kind],
            xerr=100 * part[f"{metric}_ci"].fillna(0),
            linestyle="none",
            capsize=2,
            label=f"{kind} parameters",
            color=colour,
            markerfacecolor=inside,
            marker="o",
        )


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
