"""How fast, and in how much memory, is each loss of the field? Beside PML's class and the floor.

python -m benchmarks.field_losses --help
"""

from functools import partial
from typing import Annotated, Any

import pandas as pd
import typer
from tqdm import tqdm

from pml_gpw.training.environment import environment
from pml_gpw.training.files import write_atomically

from .data import options
from .data.faults import command, integers, output_folder
from .data.plan import one_of
from .measure.field_losses import BY_HAND, LOSSES, METHODS, PML, peak_within, step
from .measure.stopwatch import PEAK_STEPS, time_in_turns
from .report.numbers import number
from .report.saving import RESULTS, save

DIMS, MOST = 512, 10**6
HEADING = """### Losses of the field: time and memory

A step normalises, computes forward and backward; random embeddings, 5 a class. Times: medians, in
turns within one row, as multiples of the floor (S = X·Yᵀ and S·Y) and in milliseconds. Memory: the
peak of a process beyond the inputs over {steps} steps. "streamed" is eager, "fused" compiled; "by
hand" says whose weights are written down rather than derived. PML's class computes where it has
one, and where its step keeps within {limit} GB."""


@command
def main(
    sizes: Annotated[str, typer.Option(help="Batch sizes N.")] = "80,480,1000,4000",
    losses: Annotated[
        str, typer.Option("--losses", "--rows", help=f"all, or out of: {', '.join(LOSSES)}.")
    ] = "all",
    seconds: options.Seconds = 1.0,
    limit: Annotated[float, typer.Option(min=1, help="GB that a step of PML may take.")] = 8.0,
    output: options.Output = RESULTS,
    resume: options.Resume = False,
) -> None:
    """Time each loss beside PML's class, measure its peak memory, and save the table."""
    batches = integers("--sizes", sizes, 20, MOST)
    named = [*LOSSES] if losses == "all" else losses.split(",")
    names = [one_of("--losses", name.strip(), LOSSES) for name in named]
    output_folder(output)
    path = output / "field-losses.csv"
    saved = pd.read_csv(path) if resume and path.is_file() else pd.DataFrame({"loss": [], "N": []})
    rows: list[dict[str, Any]] = []
    for name, n in tqdm([(name, n) for name in names for n in batches], unit="row", disable=False):
        found = saved[(saved["loss"] == name) & (saved["N"] == n)]
        row = found.iloc[0].to_dict() if len(found) else _row(name, n, seconds, limit)
        rows.append(row)
        write_atomically(path, partial(pd.DataFrame(rows).to_csv, index=False))
    text = _text(pd.DataFrame(rows), limit)
    save(output, {"field-losses.md": text})
    typer.echo(f"\n{text}")


def _row(name: str, n: int, seconds: float, limit: float) -> dict[str, Any]:
    """The figures of one loss at one size; of PML none where it has no class or needs too much."""
    peaks = {method: peak_within(limit, name, method, n, DIMS) for method in METHODS[name]}
    methods = [method for method in METHODS[name] if method != PML or peaks[PML] == peaks[PML]]
    steps = {method: step(name, method, n, DIMS) for method in (*methods, "floor")}
    times = {method: found.summary() for method, found in time_in_turns(steps, seconds, 3).items()}
    row: dict[str, Any] = {"loss": name, "class": LOSSES[name].__name__, "N": n, "D": DIMS}
    row |= {"by_hand": name in BY_HAND, "pml_class": PML in METHODS[name]}
    for method, summary in times.items():
        key = method.lower()
        row |= {f"{key}_ms": summary["ms"], f"{key}_q1": summary["ms_q1"]}
        row |= {f"{key}_q3": summary["ms_q3"], f"{key}_mb": peaks.get(method, float("nan"))}
    return row


def _text(rows: pd.DataFrame, limit: float) -> str:
    lines = [HEADING.format(steps=PEAK_STEPS, limit=number(limit)), ""]
    for n, table in rows.groupby("N"):
        cells = pd.DataFrame([_cells(row, limit) for _, row in table.iterrows()])
        lines += [f"**N = {n:,}, D = {DIMS}**", ""]
        lines += [cells.to_markdown(index=False, disable_numparse=True), ""]
    return "\n".join([*lines, f"{environment()}, CPU", ""])


def _cells(row: "pd.Series[Any]", limit: float) -> dict[str, str]:
    floor, pml = row["floor_ms"], row.get("pml_ms", float("nan"))
    cells = {"loss": f"{row['loss']}{', by hand' if row['by_hand'] else ''}"}
    for key in ("streamed", "fused"):
        cells[f"{key}, × floor"] = number(row[f"{key}_ms"] / floor)
    if not row["pml_class"]:
        cells |= {"PML, × floor": "no class", "fused, × faster": "", "PML, MB": ""}
    elif pml != pml:
        more = f"more than {1000 * limit:,.0f}"
        cells |= {"PML, × floor": "", "fused, × faster": "", "PML, MB": more}
    else:
        cells |= {"PML, × floor": number(pml / floor)}
        cells |= {"fused, × faster": number(pml / row["fused_ms"])}
        cells |= {"PML, MB": number(row["pml_mb"])}
    for key in ("streamed", "fused"):
        cells[f"{key}, MB"] = number(row[f"{key}_mb"])
    return cells | {"floor, ms": number(floor)}


if __name__ == "__main__":
    typer.run(main)
