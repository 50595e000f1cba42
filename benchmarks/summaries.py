"""Runs collected into a comparison table: means with 95 % confidence intervals over seeds."""

import pandas as pd
from scipy import stats

from .contenders import similarities_of


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


def to_markdown(summary: pd.DataFrame) -> str:
    """The summary as Markdown: Recall@K and MAP@R in percent as mean ± half-width."""
    table = pd.DataFrame(
        {"loss": summary["loss"], "uses": [similarities_of(str(n)) for n in summary["loss"]]}
    )
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
    return table.to_markdown(index=False, disable_numparse=True)


def _mean_and_width(mean: float, width: float) -> str:
    return f"{mean:.1f}" if width != width else f"{mean:.1f} ± {width:.1f}"


def control_lines(runs: pd.DataFrame, ours: str = "SNP", theirs: str = "pml-ms") -> list[str]:
    """Whether two losses reach the same Recall@1: their difference over the seeds they share.

    A paragraph as lines; none where one of the two did not run.
    """
    recalls = runs.pivot_table(index="seed", columns="loss", values="recall_at_1", sort=False)
    if not {ours, theirs} <= set(recalls.columns):
        return []
    difference = 100 * (recalls[ours] - recalls[theirs]).dropna()
    width = confidence_half_width(difference)
    text = f"Control: R@1 of {ours} minus {theirs} is {difference.mean():+.2f} points"
    if width != width:
        return [f"{text} (one seed, no interval).", ""]
    verdict = "inside" if abs(difference.mean()) <= width else "OUTSIDE"
    interval = f"the 95 % interval of ± {width:.2f} over {len(difference)} seeds"
    return [f"{text}, {verdict} {interval}.", ""]
