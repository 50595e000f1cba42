"""Runs collected into a comparison table: means with 95 % confidence intervals over seeds."""

from collections.abc import Mapping

import pandas as pd
from scipy import stats

from ..data.rows import RAW, Row


def confidence_half_width(values: "pd.Series[float]") -> float:
    """Half of the 95 % confidence interval of the mean (Student's t); NaN for a single value."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per loss, in the order of the runs: seeds, mean and half-width of each metric.

    ``runs`` has the columns loss, seed and one per metric.
    """
    metrics = [column for column in runs.columns if column not in ("loss", "seed")]
    rows = []
    for loss, group in runs.groupby("loss", sort=False):
        row: dict[str, object] = {"loss": loss, "seeds": len(group)}
        for metric in metrics:
            row[metric] = group[metric].mean()
            row[f"{metric}_ci"] = confidence_half_width(group[metric])
        rows.append(row)
    return pd.DataFrame(rows)


def to_markdown(
    summary: pd.DataFrame, rows: Mapping[str, Row], differences: "pd.Series[str]"
) -> str:
    """The summary as Markdown: Recall@K and MAP@R in percent as mean ± half-width.

    ``differences`` is a further column, by loss.
    """
    uses = [rows[name].uses if name in rows else "" for name in summary["loss"]]
    table = pd.DataFrame({"loss": summary["loss"], "uses": uses})
    titles = {
        metric: metric.replace("recall_at_", "R@").replace("map_at_r", "MAP@R")
        for metric in summary.columns
        if metric.startswith(("recall_at_", "map_at_r")) and not metric.endswith("_ci")
    }
    for metric, title in titles.items():
        table[title] = [
            _mean_and_width(100 * mean, 100 * width)
            for mean, width in zip(summary[metric], summary[f"{metric}_ci"], strict=True)
        ]
    if len(differences):
        table[differences.name] = table["loss"].map(differences).fillna("")
    return table.to_markdown(index=False, disable_numparse=True)


def _mean_and_width(mean: float, width: float, sign: str = "") -> str:
    return f"{mean:{sign}.1f}" if width != width else f"{mean:{sign}.1f} ± {width:.1f}"


def paired_differences(runs: pd.DataFrame, to: str) -> "pd.Series[str]":
    """Of each loss but ``to``, Recall@1 minus that of ``to`` in points, over the seeds of both.

    Mean and half-width as text by loss; empty where ``to`` did not run.
    """
    recalls = runs.pivot_table(index="seed", columns="loss", values="recall_at_1", sort=False)
    texts = {}
    for loss in recalls.columns if to in recalls.columns else ():
        difference = 100 * (recalls[loss] - recalls[to]).dropna()
        if loss != to and loss not in RAW.values():
            width = confidence_half_width(difference)
            texts[loss] = _mean_and_width(difference.mean(), width, sign="+")
    return pd.Series(texts, name=f"R@1 − {to}", dtype=str)
