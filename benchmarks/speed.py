"""How fast, and in how much memory? Loss step, memory step and retrieval beside PML and the floor.

python -m benchmarks.speed --help
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm import tqdm

from pml_gpw.training.environment import environment

from .data import options
from .data.faults import bad, command, integers, output_folder, usable_device
from .data.plan import checked_losses
from .measure import steps
from .measure.counts import MODEL, counted
from .measure.methods import COUNTED
from .measure.stopwatch import PEAK_PROCESSES, PEAK_STEPS, peak_megabytes, time_in_turns
from .report.numbers import number
from .report.plots import plot_counts, plot_speed
from .report.saving import RESULTS, save

DIMS, MEMORY_DIMS, MEMORY_BATCH = 512, 128, 256
PLACES = ((60, 512), (120, 4096), (60, 8448), (160, 12288))
"""Classes of 4 and dims of live place recognition projects: GSV-Cities, MixVPR, SALAD, BoQ."""
TERMS, TERM_DIMS = 600, 768
"""Names of biomedical terms, two each, of which some 150,000 triplets are mined, as by SapBERT."""
HUGE = "streamed (MSLoss)"
LAYOUTS = ("auto", "dense", "sparse rows", "sparse batch", "fused")
KS = (1, 2, 4, 8, 16, 32)
DEEP_KS = (1, 10, 100, 1000)
MOST = 10**8  # embeddings
COUNTED_TITLE = "Loss step, mined, counted, no GPU"
SAME = 1e-4  # relative difference of the losses of methods, above which the table is refused


def _embeddings(help: str) -> Any:
    """An option that is a number of embeddings."""
    return typer.Option(min=0, max=MOST, help=f"{help}; 0: none.")


@command
def main(
    batches: Annotated[str, typer.Option(help="Batch sizes N.")] = "80,320,1000,4000",
    live: Annotated[
        bool, typer.Option(help="Batches and index tuples of the sizes of live projects.")
    ] = True,
    layouts: Annotated[
        str, typer.Option(help="Batch sizes whose peak is measured in each layout; empty: none.")
    ] = "12000,30000",
    huge: Annotated[int, _embeddings("In a batch that only streaming holds")] = 100_000,
    columns: Annotated[int, _embeddings("Queries, against as many documents")] = 32_768,
    memory: Annotated[str, typer.Option(help="Sizes of the memory; empty: none.")] = "1024,55000",
    retrieval: Annotated[int, _embeddings("To rank by each method")] = 20_000,
    deep_retrieval: Annotated[int, _embeddings("To rank to K = 1000, by ours alone")] = 60_502,
    counts: Annotated[
        bool, typer.Option(help="Count operations, waits and bytes of a loss step.")
    ] = True,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0, max=3600, help="Time for each cell.", show_default="4 on a CPU, else 0.5"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …")] = "cpu",
    output: options.Output = RESULTS,
    resume: options.Resume = False,
    losses: options.Losses = "all",
) -> None:
    """Time every method in turns, measure its peak memory, and print and save the tables.

    With `--losses` the loss steps of just these, on embeddings as trained ones, beside the floor.
    Methods are compared within a table, and tables are saved one by one: what was interrupted goes
    on with `--resume`. With its defaults it takes more than an hour on two CPU cores. Loss steps
    come first: with `--device cuda` the lines that say whether ours are faster than PML on that
    card are there within a minute or two.
    """
    # In smaller ones too few pairs are mined: PML takes a single pair for none.
    sizes = integers("--batches", batches, 4 * steps.PER_CLASS, MOST)
    memories = integers("--memory", memory, MEMORY_BATCH, MOST) if memory else []
    layout_sizes = integers("--layouts", layouts, 1, MOST) if layouts else []
    for option, n, ks in (
        ("--retrieval", retrieval, KS),
        ("--deep-retrieval", deep_retrieval, DEEP_KS),
    ):
        if 0 < n <= max(ks):
            raise bad(option, f"must be 0 or more than {max(ks)}, the largest K, got {n}")
    usable_device(device)
    output_folder(output)
    if seconds is None:
        seconds = 4.0 if device == "cpu" else 0.5
    rows = {} if losses == "all" else checked_losses(losses)
    tasks: list[Task] = [
        *_loss_tasks(sizes, counts, seconds, device),
        *(_live_tasks(seconds, device) if live else []),
        *_memory_tasks(memories, seconds, device),
        *_retrieval_tasks(retrieval, deep_retrieval, seconds, device),
        *(partial(_layout_rows, n) for n in layout_sizes if device == "cpu"),
        *([partial(_huge_rows, huge, device)] if huge else []),
        *([partial(_column_rows, columns)] if columns and device == "cpu" else []),
    ]
    stem, text = output / f"speed-{device.replace(':', '')}", ""
    if rows:
        of = {name: row.source for name, row in rows.items()}
        tasks = [partial(_row_rows, seconds, n, of, device) for n in sizes]
        stem = stem.with_name(f"{stem.name}-losses")
    saved = pd.DataFrame({"table": []})
    if resume and stem.with_name(f"{stem.name}.csv").is_file():
        saved = pd.read_csv(stem.with_name(f"{stem.name}.csv"))
    tables: list[pd.DataFrame] = []
    for task in tqdm(tasks, unit="table", disable=False):
        key = f"{task.func.__name__}{task.args}"
        table = saved[saved["table"] == key]
        if table.empty:
            found = task()
            tqdm.write(verdict(found))
            table = pd.DataFrame(found).assign(table=key)
        tables.append(table)
        text = _saved_tables(pd.concat(tables), stem, device)
    plots = {f"{stem.name}.png": plot_speed, f"{stem.name}-counts.png": plot_counts}
    drawn = [*plots] if "operations" in pd.concat(tables) else [*plots][:1]
    save(output, {name: partial(plots[name], pd.concat(tables)) for name in drawn})
    typer.echo(f"\n{text}")
    typer.echo(f"Saved {stem}.md, .csv and plots")


Task = partial[list[dict[str, Any]]]


def _loss_tasks(sizes: list[int], counts: bool, seconds: float, device: str) -> list[Task]:
    """Loss steps of each size, counted and timed; a formula of rows for the largest."""
    tasks: list[Task] = []
    for n in sizes:
        if counts:
            tasks.append(partial(_counted_rows, n))
        for mined, kind in ((True, "trained-like"), (True, "random"), (False, "random")):
            batch = steps.Batch(kind, n, DIMS, mined=mined)
            tasks.append(partial(_method_rows, "loss", seconds, batch, device))
    largest = steps.Batch("random", max(sizes), DIMS, mined=False)
    return [*tasks, partial(_method_rows, "formula", seconds, largest, device)]


def _live_tasks(seconds: float, device: str) -> list[Task]:
    """Loss steps of the sizes of live projects."""
    places = [steps.Batch("rank 48", 4 * classes, dims, 4) for classes, dims in PLACES]
    terms = steps.Batch("rank 48", TERMS, TERM_DIMS, 2, mined=False)
    return [
        *(partial(_method_rows, "loss", seconds, batch, device) for batch in places),
        partial(_method_rows, "tuple", seconds, terms, device),
    ]


def _memory_tasks(sizes: list[int], seconds: float, device: str) -> list[Task]:
    kinds = [(size, kind) for size in sizes for kind in ("trained-like", "random")]
    batches = [steps.Batch(k, MEMORY_BATCH, MEMORY_DIMS, memory=size) for size, k in kinds]
    return [partial(_method_rows, "memory", seconds, batch, device) for batch in batches]


def _retrieval_tasks(retrieval: int, deep: int, seconds: float, device: str) -> list[Task]:
    all_of = partial(_retrieval_rows, seconds, steps.RETRIEVALS, retrieval, KS, device)
    deep_of = partial(_retrieval_rows, 0, ("torch", "faiss"), deep, DEEP_KS, device)
    return [*([all_of] if retrieval else []), *([deep_of] if deep else [])]


def _labels(task: str, title: str, batch: steps.Batch) -> dict[str, Any]:
    """The columns that rows of a table share."""
    sizes = {"N": batch.n, "M": batch.memory or batch.n, "D": batch.dims}
    return {"task": task, "title": title, "kind": batch.kind, "mined": batch.mined, **sizes}


def _counted_rows(n: int) -> list[dict[str, Any]]:
    """What a step asks of an accelerator, counted on the CPU."""
    labels = _labels("counts", COUNTED_TITLE, steps.Batch("random", n, DIMS))
    rows = []
    for name in COUNTED:
        counts = counted(steps.counted_step(name, n, DIMS))
        found = {
            "operations": counts.operations,
            "waits": counts.waits,
            "moved_mb": counts.bytes_moved / 1e6,
            "product_share": counts.product_share,
        }
        rows.append({**labels, "method": name, **found})
    return rows


def verdict(rows: list[dict[str, Any]]) -> str:
    """How the rows of one table compare with PML, in a line."""
    first = rows[0]
    compared = [
        f"{row['method']} {row['faster_than_pml']:.2f} ×"
        for row in rows
        if row["method"] != "floor" and row.get("faster_than_pml") and row["method"] != "PML"
    ]
    than = f": faster than PML by {', '.join(compared)}" if compared else ""
    return f"{first['title']}, N = {first['N']:,}{than}"


def _title(task: str, batch: steps.Batch, device: str) -> str:
    if task == "formula":
        return f"Loss step of Multi-Similarity, not mined as rows, {batch.kind}"
    if task == "tuple":
        triplets = len(steps.mined_triplets(*batch.embeddings(device))[0])
        return f"Loss step of an index tuple of {triplets:,} triplets"
    if task == "memory":
        return f"Cross-batch memory step, {batch.kind}"
    if not batch.mined:
        return f"Loss step, not mined, {batch.kind}"
    kept = steps.share_of_negatives_kept(*batch.embeddings(device))
    return f"Loss step, mined, {batch.kind} ({100 * kept:.1f} % of negatives kept)"


def _method_rows(
    task: str, seconds: float, batch: steps.Batch, device: str
) -> list[dict[str, Any]]:
    """A row for each method of a task, all of which must compute the same loss."""
    names = [*steps.methods_of(task, batch)]
    if batch.n > steps.LOOP_LIMIT:
        names = [name for name in names if name != "loop over anchors"]
    values = {name: steps.loss_value(task, name, batch, device) for name in names}
    if max(values.values()) - min(values.values()) > SAME * max(values.values()):
        raise RuntimeError(f"methods do not compute the same loss: {values}")

    def job(name: str) -> tuple[Any, ...]:
        return steps.loss_step, task, name, batch, device

    labels = _labels(task, _title(task, batch, device), batch)
    return _timed(labels, seconds, names, job, task != "loss" or batch.n >= 1000)


def _row_rows(seconds: float, n: int, sources: dict[str, str], device: str) -> list[dict[str, Any]]:
    """Losses that differ, by the sources of their rows."""
    batch = steps.Batch("trained-like", n, DIMS)
    title = "Loss step of each loss with its miner, trained-like"

    def job(name: str) -> tuple[Any, ...]:
        return steps.loss_step, "row", sources.get(name, name), batch, device

    return _timed(_labels("losses", title, batch), seconds, [*sources], job, True)


def _retrieval_rows(
    seconds: float, names: tuple[str, ...], n: int, ks: tuple[int, ...], device: str
) -> list[dict[str, Any]]:
    title = f"Recall@K of all among themselves, K to {max(ks)}; floor: one product"

    def job(name: str) -> tuple[Any, ...]:
        return steps.retrieval_step, name, n, DIMS, ks, device

    labels = _labels("retrieval", title, steps.Batch("trained-like", n, DIMS))
    return _timed(labels, seconds, [*names], job, True)


def _layout_rows(n: int) -> list[dict[str, Any]]:
    batch = steps.Batch("trained-like", n, MEMORY_DIMS)
    title = "Loss step, mined, trained-like: peak of each layout"
    return [_peak_row(title, batch, layout, steps.layout_step, layout, batch) for layout in LAYOUTS]


def _column_rows(n: int) -> list[dict[str, Any]]:
    batch = steps.Batch("random", n, MEMORY_DIMS)
    title = "Loss step of queries against as many documents: peak"
    names = [*steps.COLUMNS]
    return [_peak_row(title, batch, name, steps.column_step, name, batch) for name in names]


def _huge_rows(n: int, device: str) -> list[dict[str, Any]]:
    batch = steps.Batch("trained-like", n, MEMORY_DIMS)
    title = f"Loss step, mined, {batch.kind}: a batch that only streaming holds"
    return [_peak_row(title, batch, HUGE, steps.loss_step, "loss", HUGE, batch, device)]


def _peak_row(title: str, batch: steps.Batch, method: str, *job: Any) -> dict[str, Any]:
    """A row of a step that is not timed."""
    return {**_labels("peak", title, batch), "method": method, "peak_mb": peak_megabytes(*job)}


def _timed(
    labels: dict[str, Any],
    seconds: float,
    names: list[str],
    job: Callable[[str], tuple[Any, ...]],
    with_memory: bool,
) -> list[dict[str, Any]]:
    """One row per method and one for the floor; ratios are of medians."""

    def make(name: str) -> Any:
        function, *arguments = job(name)
        return function(*arguments)

    least = 3 if seconds else 1
    times = time_in_turns({name: make(name) for name in (*names, "floor")}, seconds, least)
    rows = []
    for name, measured in times.items():
        summary = measured.summary()
        row = {**labels, "method": name, **summary}
        row["times_floor"] = summary["ms"] / times["floor"].summary()["ms"]
        if "PML" in times:
            row["faster_than_pml"] = times["PML"].summary()["ms"] / summary["ms"]
        if with_memory:
            row["peak_mb"] = peak_megabytes(*job(name))
        rows.append(row)
    return rows


def _saved_tables(rows: pd.DataFrame, stem: Path, device: str) -> str:
    """The tables in Markdown, which is saved, and as CSV."""
    lines = [
        "### Speed and memory",
        "",
        "Medians, in turns within one call (quartiles of the whole in brackets); the floor is "
        "S = X·Yᵀ and S·Y, without which no loss step gets along. Loss steps normalise, compute "
        f"forward and backward; {steps.PER_CLASS} embeddings per class, of rank 48 four (index "
        "tuple: two). Memory: peak of the process beyond the inputs, backward included, over "
        f"{PEAK_STEPS} steps, the worst of {PEAK_PROCESSES} processes. "
        "Counted steps were not timed: operations that launch work, waits of the host, and bytes "
        "read and written, on the path of accelerators, with the kernels that the compiler wrote "
        f"for a CPU where rows are fused. {MODEL}",
        "",
    ]
    for (title, n, m, d), table in rows.groupby(["title", "N", "M", "D"], sort=False):
        sizes = f"N = {n:,}" + (f", M = {m:,}" if m != n else "") + f", D = {d}"
        lines += [f"**{title}, {sizes}**", "", _markdown(table), ""]
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"
    text = "\n".join([*lines, f"{environment()}, {where}", ""])
    csv = rows.to_csv(index=False)
    save(stem.parent, {f"{stem.name}.md": text, f"{stem.name}.csv": csv})
    return text


COLUMNS: dict[str, Callable[[pd.Series], str]] = {
    "method": lambda row: str(row["method"]),
    "forward, ms": lambda row: number(row.get("forward_ms")),
    "backward, ms": lambda row: number(row.get("backward_ms")),
    "whole, ms": lambda row: _whole(row),
    "× floor": lambda row: number(row.get("times_floor")),
    "× faster than PML": lambda row: number(row.get("faster_than_pml")),
    "peak MB": lambda row: number(row.get("peak_mb")),
    "operations": lambda row: number(row.get("operations")),
    "waits": lambda row: number(row.get("waits")),
    "MB moved": lambda row: number(row.get("moved_mb")),
    "share of products, %": lambda row: _percent(row.get("product_share")),
}


def _markdown(table: pd.DataFrame) -> str:
    cells = pd.DataFrame(
        {name: [cell(row) for _, row in table.iterrows()] for name, cell in COLUMNS.items()}
    )
    filled = [name for name in cells if (cells[name] != "").any()]
    return cells[filled].to_markdown(index=False, disable_numparse=True)


def _whole(row: "pd.Series[Any]") -> str:
    if pd.isna(row.get("ms")):
        return ""
    return f"{number(row['ms'])} ({number(row['ms_q1'])}-{number(row['ms_q3'])})"


def _percent(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{100 * value:.0f}"


if __name__ == "__main__":
    typer.run(main)
