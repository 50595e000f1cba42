"""The report of a tuning, rebuilt from its export without any training.

python -m benchmarks.tuning_report --help
"""

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import optuna
import pandas as pd
import typer

from pml_gpw.losses import VARIANTS
from pml_gpw.weightings import Range

from .data.faults import command
from .data.presets import INITIALS, METRICS
from .data.rows import BALANCED, CONTROL, CONTROLLED
from .measure.search import (
    EDGE,
    RANDOM_TRIALS,
    WIDEN_EVERY,
    best_trial,
    edge_at,
    importances,
    space_of,
)
from .measure.tuning_plan import searched_for
from .report.saving import save
from .report.summaries import confidence_half_width
from .report.tuning_export import Export
from .report.tuning_plots import (
    SYMBOLS,
    plot_differences,
    plot_importances,
    plot_tests,
    plot_trials,
)

KINDS = ("default", "tuned")
SHOWN = {"recall_at_1": "R@1", "map_at_r": "MAP@R"}


@command
def main(
    folder: Annotated[Path, typer.Argument(help="A folder that benchmarks.tuning has written.")],
) -> None:
    """Rebuild the report of a tuning from its settings.json, trials.csv and tests.csv."""
    typer.echo(report(folder))


def report(folder: Path) -> str:
    """Write tables and plots into the folder of an export; the text of the report."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    export = Export.read(folder)
    tables = {
        "summary": summary(export),
        "differences": differences(export),
        "parameters": parameters(export),
        "cost": cost(export),
    }
    text = _text(export, tables)
    save(folder, {f"{name}.csv": table.to_csv(index=False) for name, table in tables.items()})
    save(
        folder,
        {
            "tests.png": partial(plot_tests, tables["summary"]),
            "differences.png": partial(plot_differences, tables["differences"]),
            "trials.png": partial(plot_trials, export.trials),
            "importances.png": partial(plot_importances, tables["parameters"]),
            "report.md": text,
        },
    )
    return text


def summary(export: Export) -> pd.DataFrame:
    """A line for each row and kind of parameters: seeds, mean and half-width of each metric, the
    same of its differences to that of SNP, paired by seed, and the objective on the folds: of the
    defaults, or the best of the first ten and of all trials."""
    lines, uses = [], {name: searched_for(row).uses for name, row in export.rows.items()}
    for row, kind in product(export.settings["rows"], KINDS):
        tests = _tests(export, row, kind)
        line: dict[str, Any] = {"row": row, "uses": uses[row], "parameters": kind}
        line |= {"seeds": len(tests), "failed": int(tests["failed"].notna().sum())}
        for metric in METRICS:
            values = tests[metric].dropna()
            line |= {metric: values.mean(), f"{metric}_ci": confidence_half_width(values)}
        if row != CONTROLLED and CONTROLLED in export.settings["rows"]:
            for metric, found in _less(export, row, CONTROLLED, kind).items():
                line[f"{metric}_less"] = found.mean()
                line[f"{metric}_less_ci"] = confidence_half_width(found)
        trials = export.trials_of(row)
        chosen = {"validation_of_10": trials[:RANDOM_TRIALS], "validation": trials}
        if kind == "default":
            chosen = {"validation": trials[:1]}
        for name, some in chosen.items():
            best = best_trial(some)
            line[name] = None if best is None else best.values[0]
        lines.append(line)
    return pd.DataFrame(lines)


def differences(export: Export) -> pd.DataFrame:
    """What a letter adds: row less row without it, over the seeds that both have; in 0..1.

    Columns: letter, row, without, parameters, seeds, and mean and half-width for each metric.
    """
    lines = []
    for letter, row, without in _pairs():
        if not {row, without} <= set(export.settings["rows"]):
            continue
        for kind in KINDS:
            line: dict[str, Any] = {"letter": letter, "row": row, "without": without}
            line["parameters"] = kind
            for metric, found in _less(export, row, without, kind).items():
                line |= {"seeds": len(found)}
                line |= {metric: found.mean(), f"{metric}_ci": confidence_half_width(found)}
            lines.append(line)
    return pd.DataFrame(lines, columns=_difference_columns())


def parameters(export: Export) -> pd.DataFrame:
    """A line for each hyper-parameter of each row: first and last range, whether it was widened and
    at which end the best value is, default, best value, importance."""
    lines = []
    for row in export.rows.values():
        trials = export.trials_of(row.name)
        best = best_trial(trials)
        if not trials or best is None:
            continue
        first, last = (space_of(trials[place]) for place in (0, -1))
        found = importances(trials, last)
        for name, limits in row.space.items():
            widest = replace(limits, low=last[name].low, high=last[name].high)
            lines.append(
                {
                    "row": row.name,
                    "parameter": name,
                    "first_range": _interval(first[name]),
                    "last_range": _interval(last[name]),
                    "widened": first[name] != last[name],
                    "edge": edge_at(widest, best.params[name]) or "",
                    "default": row.defaults[name],
                    "best": best.params[name],
                    "importance": found.get(name),
                }
            )
    columns = ["row", "parameter", "first_range", "last_range", "widened", "edge", "default"]
    return pd.DataFrame(lines, columns=[*columns, "best", "importance"])


def cost(export: Export) -> pd.DataFrame:
    """A line for each row: trials and tests, those that have failed, CPU seconds."""
    lines = []
    folds = export.settings["folds"]
    for row in export.settings["rows"]:
        trials = export.trials[export.trials["row"] == row]
        tests = export.tests[export.tests["row"] == row]
        same = tests.duplicated(["seed", "cpu_seconds"]) & tests["cpu_seconds"].notna()
        tests = tests[~same]  # where the best parameters are the defaults
        lines.append(
            {
                "row": row,
                "trials": len(trials),
                "failed_trials": int(trials["failed"].notna().sum()),
                "seconds_per_fold": (trials["cpu_seconds"] / folds).median(),
                "seconds_of_trials": trials["cpu_seconds"].sum(),
                "tests": len(tests),
                "failed_tests": int(tests["failed"].notna().sum()),
                "seconds_per_test": tests["cpu_seconds"].median(),
            }
        )
    return pd.DataFrame(lines)


def _pairs() -> list[tuple[str, str, str]]:
    """The rows that differ by one letter, and those without N that differ so and are balanced."""
    found = []
    for letter in "PSN":
        for similarities in VARIANTS:
            if letter in similarities:
                without = similarities.replace(letter, "") or "none"
                found.append((letter, similarities, without))
                one, other = f"{similarities} balanced", f"{without} balanced"
                found += [(letter, one, other)] if {one, other} <= BALANCED.keys() else []
                found += [(letter, similarities, other)] if letter == "N" else []
    return found


def _difference_columns() -> list[str]:
    metrics = [name for metric in METRICS for name in (metric, f"{metric}_ci")]
    return ["letter", "row", "without", "parameters", "seeds", *metrics]


def _tests(export: Export, row: str, kind: str) -> pd.DataFrame:
    tests = export.tests
    return tests[(tests["row"] == row) & (tests["parameters"] == kind)]


def _less(export: Export, row: str, other: str, kind: str) -> dict[str, "pd.Series[float]"]:
    """Of each metric the differences between two rows, over the seeds that both have."""
    one, two = (_tests(export, name, kind).set_index("seed") for name in (row, other))
    return {metric: (one[metric] - two[metric]).dropna() for metric in METRICS}


def _interval(limits: Range) -> str:
    return f"{limits.low:g}..{limits.high:g}{' log' * limits.log}"


def _text(export: Export, tables: dict[str, pd.DataFrame]) -> str:
    settings = export.settings
    training = settings["experiment"]
    initial = settings["initial"]
    begun = training["weights"] if initial == INITIALS[0] else initial
    title = (
        f"### {training['dataset']}: {settings['trials']} trials of {settings['folds']} folds at "
        f"{training['iterations']} iterations, {settings['seeds']} "
        f"seed{'s' * (settings['seeds'] > 1)} at "
        f"{settings['test_iterations']}; batch {training['batch']}, initial weights: {begun}"
    )
    parts = [
        title,
        "Every loss has the same number of trials. A trial is scored by MAP@R on the classes that "
        f"are left out, the mean over {settings['folds']} contiguous class-disjoint folds of the "
        "training classes. The best parameters and the defaults are then trained on all training "
        "classes and tested once per seed on the test classes, after the last iteration. In "
        "percent; mean ± 95 % confidence interval over seeds (Student's t). Differences are paired "
        "by seed, and **bold** where the interval leaves out 0; intervals are not corrected for "
        "their number.",
        *_progress(export),
        _summary_text(tables["summary"]),
        _notes(export),
        "![tests](tests.png)",
        "#### What each similarity adds",
        "Points of the row less the row without the letter.",
        _difference_text(tables["differences"]),
        "![differences](differences.png)",
        *_control(export),
        "#### Hyper-parameters",
        f"Drawn in this range, which every {WIDEN_EVERY} trials grows where the best value is in "
        f"the outer {EDGE:.0%} of it (by a factor of 10, or by half of its width, within what the "
        "loss allows). Importance: the share in the variance of the objective, by fANOVA.",
        _parameter_text(tables["parameters"]),
        "![importances](importances.png)",
        "![trials](trials.png)",
        "#### Cost",
        "CPU seconds of the processes that trained, one thread each; medians of a fold and of a "
        "test.",
        _cost_text(tables["cost"]),
        f"{training['dataset']}, configuration {training['configuration']}, "
        f"{training['dims']} dimensions, learning rate {training['learning_rate']:g}; "
        f"{training['versions']}; code {training['code']}",
    ]
    return "\n\n".join(parts) + "\n"


def _progress(export: Export) -> list[str]:
    """A sentence where something is not finished."""
    settings = export.settings
    searched = {row.name: row for row in map(searched_for, export.rows.values())}
    wanted = sum(settings["trials"] if row.space else 1 for row in searched.values())
    tests = 2 * settings["seeds"] * len(settings["rows"])
    if len(export.trials) >= wanted and len(export.tests) >= tests:
        return []
    return [
        f"**Not finished**: {len(export.trials)} of {wanted} trials and {len(export.tests)} of "
        f"{tests} tests."
    ]


def _notes(export: Export) -> str:
    rows = export.settings["rows"]
    plain = [n for n, row in export.rows.items() if not searched_for(row).space]
    notes = [f"Nothing is searched of {', '.join(plain)}: one trial."] if plain else []
    if any("balanced" in row for row in rows):
        notes.append(
            "Balanced: the weights of an anchor's positives are divided by their sum, and so are "
            "those of its negatives. This makes the weights of S depend on the anchor's other "
            "pairs, so S balanced and SP balanced use N as well."
        )
    if CONTROL in rows:
        notes.append(f"{CONTROL}: PML's own loss and miner, with what was found for {CONTROLLED}.")
    return " ".join(notes)


def _summary_text(table: pd.DataFrame) -> str:
    lines = []
    is_longer = bool((table["validation"] > table["validation_of_10"]).any())
    for row, group in table.groupby("row", sort=False):
        kinds = {str(line["parameters"]): line for _, line in group.iterrows()}
        line = {"row": row, "uses": kinds["default"]["uses"]}
        for metric, name in SHOWN.items():
            for kind in KINDS:
                line[f"{name}, {kind}"] = _mean(kinds[kind], metric)
        if "map_at_r_less" in table:
            for kind in KINDS:
                less = _mean(kinds[kind], "map_at_r_less", sign="+", bold=True)
                line[f"MAP@R − {CONTROLLED}, {kind}"] = less
        line["folds, default"] = _percent(kinds["default"]["validation"])
        if is_longer:
            line[f"best of {RANDOM_TRIALS}"] = _percent(kinds["tuned"]["validation_of_10"])
        line["best of all"] = _percent(kinds["tuned"]["validation"])
        lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _difference_text(table: pd.DataFrame) -> str:
    lines = []
    for (letter, row, without), group in table.groupby(["letter", "row", "without"], sort=False):
        line = {"adds": letter, "row": row, "less": without}
        for metric, name in SHOWN.items():
            for kind in KINDS:
                found = group[group["parameters"] == kind].iloc[0]
                line[f"{name}, {kind}"] = _mean(found, metric, sign="+", bold=True)
        lines.append(line)
    if not lines:
        return "No two rows differ by one letter."
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _control(export: Export) -> list[str]:
    """Whether PML's loss reaches what ours does."""
    if not {CONTROL, CONTROLLED} <= set(export.settings["rows"]):
        return []
    found = []
    for kind in KINDS:
        values = _less(export, CONTROLLED, CONTROL, kind)["map_at_r"]
        line = pd.Series({"map_at_r": values.mean(), "map_at_r_ci": confidence_half_width(values)})
        found.append(f"{_mean(line, 'map_at_r', sign='+')} ({kind})")
    return [f"Control: MAP@R of {CONTROLLED} less {CONTROL} is {', '.join(found)} points."]


def _parameter_text(table: pd.DataFrame) -> str:
    if table.empty:
        return "Nothing was tuned."
    shown = pd.DataFrame(
        {
            "row": table["row"],
            "parameter": [SYMBOLS.get(name, name) for name in table["parameter"]],
            "range": [
                f"{first} → {last}" if wide else first
                for first, last, wide in zip(
                    table["first_range"], table["last_range"], table["widened"], strict=True
                )
            ],
            "default": [f"{value:g}" for value in table["default"]],
            "best": [f"{value:.3g}" for value in table["best"]],
            "at the edge": table["edge"],
            "importance": ["–" if v != v or v is None else f"{v:.2f}" for v in table["importance"]],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


def _cost_text(table: pd.DataFrame) -> str:
    shown = pd.DataFrame(
        {
            "row": table["row"],
            "trials": table["trials"],
            "failed": table["failed_trials"],
            "s a fold": [f"{v:.1f}" if v == v else "–" for v in table["seconds_per_fold"]],
            "s, all trials": [f"{v:.0f}" for v in table["seconds_of_trials"]],
            "tests": table["tests"],
            "failed tests": table["failed_tests"],
            "s a test": [f"{v:.1f}" if v == v else "–" for v in table["seconds_per_test"]],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


def _mean(line: Any, metric: str, sign: str = "", bold: bool = False) -> str:
    """A mean and its half-width in percent; bold where the interval leaves out 0."""
    mean, width = 100 * line[metric], 100 * line[f"{metric}_ci"]
    if mean != mean:
        return "–"
    text = f"{mean:{sign}.1f}" if width != width else f"{mean:{sign}.1f} ± {width:.1f}"
    return f"**{text}**" if bold and abs(mean) > width else text


def _percent(value: float | None) -> str:
    return "–" if value is None or value != value else f"{100 * value:.1f}"


if __name__ == "__main__":
    typer.run(main)
