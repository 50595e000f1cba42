"""Figures of the benchmark tables."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


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
        color="black",
        ecolor="0.5",
        capsize=3,
    )
    axes.set_yticks(range(len(rows)), rows["loss"])
    axes.set_xlabel("Recall@1 on unseen classes, % (mean and 95 % CI over seeds)")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.grid(axis="x", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
