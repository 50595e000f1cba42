"""Metrics of finished runs and of the literature, in one long table.

Columns: dataset, method, result, backbone, dim, settings, seeds, metric ("R@1", …, "MAP@R"), value
and ci in percent, source; and of our runs configuration and loss. ``result`` says whose they are
and of which epoch.
"""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from pml_gpw.training.file_errors import reading_file
from pml_gpw.training.results import RESULT, read_result

from ..data.datasets import DATASETS
from ..data.faults import AGAIN
from ..data.presets import BenchmarkExperiment, preset
from .summaries import confidence_half_width

PUBLISHED = "published"
MAP_AT_R = "MAP@R"
PUBLISHED_RECALL = Path(__file__).parents[1] / "data" / "published_recall.csv"
EPOCHS = {"last": "ours, last epoch", "best": "ours, best epoch (chosen on the test set)"}
NAMES = {"SOP": "StanfordOnlineProducts"}
# What results were made with that are older than these settings.
FORMER_SETTINGS = {"sampler": "random", "tf32": True}
# Stand in columns of their own.
OWN_COLUMNS = {
    "code",
    "loss_code",
    "versions",
    "data",
    "dataset",
    "configuration",
    "loss",
    "dims",
    "seed",
    "backbone",
    "weights",
}


def published() -> pd.DataFrame:
    """The sourced results of the literature."""
    table = pd.read_csv(PUBLISHED_RECALL, dtype={"dim": "Int64"})
    table["dataset"] = table["dataset"].replace(NAMES)
    table["backbone"] = table["backbone"].fillna("")
    table["metric"] = [recall_at(k) for k in table.pop("k")]
    table = table.rename(columns={"recall": "value"})
    return table.assign(result=PUBLISHED, settings="", configuration="", loss="")


def recall_at(k: int) -> str:
    """The name of Recall@K in tables."""
    return f"R@{k}"


def in_order(metrics: Iterable[str]) -> list[str]:
    """Recall@K by K, then MAP@R, which all of ours have since it was added."""
    recalls = sorted({int(m.removeprefix("R@")) for m in metrics if m != MAP_AT_R})
    return [*map(recall_at, recalls), MAP_AT_R]


def ours(runs: Path) -> pd.DataFrame:
    """Mean and 95 % confidence interval over the seeds of each experiment below ``runs``."""
    rows = [row for path in _finished(runs) for row in _rows(_read(path))]
    if not rows:
        return pd.DataFrame(columns=[*published().columns, "seeds", "ci"])
    if len({(row["code"], row["versions"]) for row in rows}) > 1:  # never averaged together
        for row in rows:
            row["settings"] += f", code {row['code'] or 'unknown'}, {row['versions'] or 'unknown'}"
    keys = [name for name in rows[0] if name not in ("seed", "value")]
    groups = pd.DataFrame(rows).groupby(keys, sort=False)["value"]
    table = groups.agg(value="mean", ci=confidence_half_width, seeds="size").reset_index()
    return table


def environments(runs: Path) -> list[str]:
    """The versions and machines of the runs."""
    return sorted({_read(path)["environment"] for path in _finished(runs)})


def _finished(runs: Path) -> list[Path]:
    """The result of each run, or a ValueError where one is there twice."""
    found: dict[tuple[str, int], Path] = {}
    for path in sorted(runs.rglob(RESULT)):
        experiment = experiment_of(_read(path))
        key = experiment.name, experiment.seed
        if key in found:
            raise ValueError(f"runs must hold a run once, got {found[key]} and {path}")
        found[key] = path
    return [*found.values()]


def _read(path: Path) -> dict[str, Any]:
    """A result that can stand in a table."""
    content = read_result(path, AGAIN)
    with reading_file(path, AGAIN):
        if not (_rows(content) and experiment_of(content).dataset in DATASETS):
            raise ValueError("nothing to show")
    return content


def experiment_of(result: dict[str, Any]) -> BenchmarkExperiment:
    """The experiment that a result is of."""
    names = {field.name for field in fields(BenchmarkExperiment)}
    settings = {name: value for name, value in result["experiment"].items() if name in names}
    settings["milestones"] = tuple(settings["milestones"])
    return BenchmarkExperiment(**{**FORMER_SETTINGS, **settings})


def _rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    experiment = experiment_of(result)
    loss = experiment.loss
    return [
        {
            "dataset": experiment.dataset,
            "method": "MS" if loss == "SNP" else loss,
            "result": label,
            "backbone": _backbone(experiment),
            "dim": experiment.dims,
            "settings": _settings(experiment),
            "configuration": experiment.configuration,
            "loss": loss,
            "source": "",
            "code": experiment.code,
            "versions": experiment.versions,
            "metric": metric,
            "seed": experiment.seed,
            "value": 100 * value,
        }
        for epoch, label in EPOCHS.items()
        for name, value in result[epoch].items()
        if (metric := _metric(name)) is not None
    ]


def _metric(name: str) -> str | None:
    """What tables call an entry of a result; None for what they do not show."""
    if name.startswith("recall_at_"):
        return recall_at(int(name.removeprefix("recall_at_")))
    return MAP_AT_R if name == "map_at_r" else None


def _backbone(experiment: BenchmarkExperiment) -> str:
    return {"bn_inception": "BN-Inception"}.get(experiment.backbone, experiment.backbone)


def _settings(experiment: BenchmarkExperiment) -> str:
    """The configuration, and what the run has changed of it."""
    plain = preset(experiment.dataset, experiment.configuration)
    images = [] if experiment.data.startswith("published") else ["not the published images"]
    changes = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in experiment.settings().items()
        if name not in OWN_COLUMNS and value != getattr(plain, name)
    ]
    weights = experiment.weights.removeprefix("sha256:")
    return ", ".join([experiment.configuration, *images, f"weights {weights}", *changes])
